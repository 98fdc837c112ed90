# SPDX-License-Identifier: Apache-2.0
"""Whether the layers of an integer model fit together, and the C tables can hold them."""

from codegen.errors import GenerateError
from device.twin.check_conv import conv_rules
from device.twin.check_front import front_rules
from device.twin.conv_shape import ConvShape
from device.twin.fine import FINE_RULE, can_be_fine
from device.twin.model import IntModel, TrainableLayer
from device.twin.residual import residual_rules

SIZE_LIMIT = 65535  # widths are 16 bits in the C tables


def check(model: IntModel) -> None:
    """Refuse models that the C tables cannot hold or whose layers do not fit together.

    Raises: GenerateError.
    """
    widths = [f.weight.shape for f in model.frozen]
    widths += [(t.out_values, t.in_values) for t in model.layers if not t.side]
    before = _check_front(model)
    if model.fine_inference and not can_be_fine(model):
        raise _refusal(f"breaks a rule: {FINE_RULE}", "fine_inference", "SPEC.md 18")
    for layer in model.layers:
        if layer.conv:
            _check_conv(layer, layer.conv, model.arithmetic.batch)
    for holds, text in residual_rules(model.layers):
        if not holds:
            raise _refusal(f"breaks a rule: {text}", "a residual block", "SPEC.md 14.6")
    for at, layer in enumerate(model.layers):
        if layer.side and layer.in_values != model.layers[at - 1].in_values:
            raise _refusal("reads another input", f"layer {layer.name}", "that of its block")
    for at, (outputs, inputs) in enumerate(widths):
        if inputs != before:
            raise _refusal(f"takes {inputs} values", f"layer {at}", f"{before} values")
        if not 1 <= min(inputs, outputs) <= max(inputs, outputs) <= SIZE_LIMIT:
            raise _refusal("is too wide", f"layer {at}", f"widths of 1 to {SIZE_LIMIT}")
        before = outputs
    if before != model.max_classes or not 1 <= model.n_classes <= model.max_classes <= 250:
        raise _refusal("classes do not fit", "the head", "1 to 250 classes, a row for each")
    _check_exemplars(model)


def _check_conv(layer: TrainableLayer, shape: ConvShape, batch: int) -> None:
    for holds, text in conv_rules(shape, layer.outputs, shape.in_values, batch):
        if not holds:
            raise _refusal(f"breaks a rule: {text}", f"layer {layer.name}", "SPEC.md 14.1")


def _check_front(model: IntModel) -> int:
    """Values that the first layer reads."""
    if not model.front:
        return model.stage_values
    for holds, text in front_rules(model):
        if not holds:
            raise _refusal(f"breaks a rule: {text}", "the front", "SPEC.md 4.1")
    return model.front[-1].outputs


def _check_exemplars(model: IntModel) -> None:
    keys = {(e.label, e.rank) for e in model.exemplars}
    slots = model.exemplar_slots + model.staging_slots
    if slots > SIZE_LIMIT or len(model.exemplars) > slots:
        raise _refusal("too few or too many slots", "exemplars", f"at most {SIZE_LIMIT} slots")
    labels_fit = all(e.label < model.n_classes and e.rank < 0x8000 for e in model.exemplars)
    if len(keys) != len(model.exemplars) or not labels_fit:
        raise _refusal("labels or ranks clash", "exemplars", "known labels, distinct ranks")
    low, high = (-7, 7) if model.x0_signed else (0, 15)
    if any(e.x0.min() < low or e.x0.max() > high for e in model.exemplars):
        raise _refusal("a value is out of range", "exemplars", f"{low} to {high}")


def _refusal(what: str, where: str, expected: str) -> GenerateError:
    return GenerateError(what, where=where, expected=expected)
