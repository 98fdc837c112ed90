# SPDX-License-Identifier: Apache-2.0
"""Options of the service into options of the quantizer, and the report of a quantization."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import onnxruntime

from codegen.errors import CodegenError, QuantizeError
from codegen.export import export_qdq
from codegen.export.builder import INPUT
from codegen.graph import FloatGraph
from codegen.quantize import QuantizeOptions, quantize, trained_counts
from codegen.quantize.expansion import widened
from codegen.quantize.options import EXPANSIONS
from codegen.quantize.signal import FORM as SIGNAL_FORM
from codegen.quantize.signal import Choice, check_choice, features_of, parse_signal
from device.twin.fine import can_be_fine
from device.twin.learner import TwinLearner, raw_samples
from device.twin.model import Arithmetic, IntModel
from server.errors import InvalidInputError, Issue
from server.learning.ports import Calibration, Float32Array, Int64Array, Json

_ARITHMETIC = {field.name: field for field in fields(Arithmetic)}
_OWN = {field.name: field for field in fields(QuantizeOptions) if field.name != "arithmetic"}
_FLAGS = {name for name, field in _OWN.items() if field.type in (bool, "bool")}
_REPORT_ROWS = 512
# Inference is fine by itself where that gives back this share of float32's decisions, two at
# least, on so many calibration samples or more (DECISIONS.md).
FINE_SHARE, FINE_COUNT, FINE_SAMPLES = 0.005, 2, 32


def parse_options(options: Mapping[str, Any]) -> QuantizeOptions:
    """Options by name, of `QuantizeOptions` and of `Arithmetic`.

    Raises: InvalidInputError that names the option and what would be right.
    """
    unknown = sorted(set(options) - set(_ARITHMETIC) - set(_OWN))
    if unknown:
        raise _wrong(unknown[0], "unknown option", ", ".join(sorted({**_ARITHMETIC, **_OWN})))
    for name, value in options.items():
        _check_type(name, value)
    if options.get("features") is not None:
        _signal(lambda: parse_signal(options["features"]))
    for name in ("expansion_blocks", "expansion_rows"):
        if name in options and options.get("expansion") is None:
            raise _wrong(name, "it reserves nothing", "expansion beside it")
    try:
        arithmetic = Arithmetic(**{k: v for k, v in options.items() if k in _ARITHMETIC})
        return QuantizeOptions(arithmetic, **{k: v for k, v in options.items() if k in _OWN})
    except ValueError as error:
        raise InvalidInputError(
            f"An option is wrong: {error}.",
            [Issue("out of range", "options", str(error))],
        ) from error


def check_choices(graph: FloatGraph, options: Mapping[str, Any]) -> None:
    """Options that depend on the network. Raises: InvalidInputError, before anything is queued."""
    chosen = parse_options({k: v for k, v in options.items() if k != "class_names"})
    try:
        chosen.classes_for(graph.n_classes)
        chosen.check_slots(graph.n_classes)
    except QuantizeError as error:
        raise as_invalid(error) from error
    counts = trained_counts(graph)
    if counts and chosen.train_last is not None and chosen.train_last not in counts:
        expected = f"1 (the head) to {counts[-1]} (all that can be trained)"
        if chosen.train_last in range(1, counts[-1]):
            expected = f"one of {', '.join(map(str, counts))}: residual blocks are trained whole"
        raise _wrong("train_last", f"train_last is {chosen.train_last}", expected)
    try:
        widened(graph, chosen)
    except QuantizeError as error:
        raise as_invalid(error) from error


def raw_values(graph: FloatGraph, options: Mapping[str, Any]) -> int:
    """Values in a raw sample: of the signal if options name features, else the graph's inputs.

    Raises: InvalidInputError if the features are not what the graph reads.
    """
    text = options.get("features")
    return graph.features if text is None else _signal(lambda: check_choice(graph, text)).inputs


def _signal(read: Callable[[], Choice]) -> Choice:
    try:
        return read()
    except QuantizeError as error:
        raise _wrong("features", error.what, error.expected) from error


def _check_type(name: str, value: Any) -> None:
    if name == "saturation":
        good, wanted = value in ("tile", "every_add"), "tile or every_add"
    elif name == "fine_inference":
        good, wanted = value is None or isinstance(value, bool), "true or false"
    elif name in _FLAGS:
        good, wanted = isinstance(value, bool), "true or false"
    elif name == "features":
        good, wanted = value is None or isinstance(value, str), SIGNAL_FORM
    elif name == "expansion":
        good, wanted = value is None or value in EXPANSIONS, " or ".join(EXPANSIONS)
    elif value is None:
        good, wanted = name in ("train_last", "max_classes"), "an integer"
    else:
        good = isinstance(value, int) and not isinstance(value, bool) and value >= 0
        wanted = "an integer of at least 0"
    if not good:
        raise _wrong(name, f"value {value!r}", wanted)


def _wrong(name: str, what: str, expected: str) -> InvalidInputError:
    return InvalidInputError(
        f"Option {name}: {what}; expected {expected}.",
        [Issue(what, f"options.{name}", expected)],
    )


@dataclass(frozen=True)
class Decisions:
    """Classes of calibration samples, at most 512.

    Attributes:
        x: float32, (N, features), what the network reads. float32: the network's classes, (N,).
        plain: the device's, without fine inference; fine: with it, None if it cannot be had.
    """

    x: Float32Array
    float32: Int64Array
    plain: Int64Array
    fine: Int64Array | None

    def of(self, model: IntModel) -> Int64Array:
        """Those of a model, which may be fine or not."""
        return self.fine if model.fine_inference and self.fine is not None else self.plain

    def agreement(self, classes: Int64Array) -> float:
        """Share of decisions that are the float network's."""
        return float(np.mean(classes == self.float32))

    def fine_pays(self) -> bool:
        """Whether fine inference gives back enough decisions to be worth its products."""
        if self.fine is None or len(self.x) < FINE_SAMPLES:
            return False
        gained = np.sum(self.fine == self.float32) - np.sum(self.plain == self.float32)
        return bool(gained >= max(FINE_COUNT, FINE_SHARE * len(self.x)))


def make_model(graph: FloatGraph, calibration: Calibration, options: QuantizeOptions) -> IntModel:
    """The integer model, its inference fine (SPEC.md 18) if asked for or, left open, if it pays.

    Raises: QuantizeError.
    """
    model = quantize(graph, calibration.x, calibration.y, options)
    is_open = options.fine_inference is None and can_be_fine(model)
    if not (is_open and decide(graph, model, calibration).fine_pays()):
        return model
    # Anew: the features that choose exemplars and make prototypes are other ones.
    return quantize(graph, calibration.x, calibration.y, replace(options, fine_inference=True))


def decide(graph: FloatGraph, model: IntModel, calibration: Calibration) -> Decisions:
    """What the float network and both forms of the integer model make of calibration samples."""
    x = calibration.x[:_REPORT_ROWS]
    raw = raw_samples(model, x)
    plain, _ = TwinLearner(replace(model, fine_inference=False)).infer_many(raw)
    fine = None
    if can_be_fine(model):
        fine, _ = TwinLearner(replace(model, fine_inference=True)).infer_many(raw)
    if model.signal is not None:
        x = features_of(model.signal, x)
    return Decisions(x, np.argmax(graph.forward(x), axis=1), plain, fine)


def quantize_report(graph: FloatGraph, model: IntModel, calibration: Calibration) -> Json:
    """What a person wants to know of a new integer model.

    Accuracies and agreements are on the calibration samples (at most 512): they show what
    quantizing cost, not how good the model is. `calibration_agreement_fine`, `.._plain`: with the
    option fine_inference the other way, where it can be had. `qdq_agreement`: how often
    onnxruntime, running the qdq form, decides as the device does; null for models with
    convolutions, which have none.
    """
    decisions, labels = decide(graph, model, calibration), calibration.y
    device_classes = decisions.of(model)
    report: Json = {
        "model_id": model.model_id.hex(),
        "arithmetic": {name: getattr(model.arithmetic, name) for name in _ARITHMETIC},
        "trainable_layers": [_layer_row(layer) for layer in model.layers],
        "front": [{"name": n.name, "shape": list(n.out_shape)} for n in model.front],
        "frozen_layers": [{"name": f.name, "shape": list(f.weight.shape)} for f in model.frozen],
        "max_classes": model.max_classes,
        "exemplars": len(model.exemplars),
        "fine_inference": model.fine_inference,
        "calibration_agreement": decisions.agreement(device_classes),
        "qdq_agreement": None,
    }
    if decisions.fine is not None:
        name = "plain" if model.fine_inference else "fine"
        other = decisions.plain if model.fine_inference else decisions.fine
        report[f"calibration_agreement_{name}"] = decisions.agreement(other)
    if not model.has_image:
        qdq_classes = _qdq_classes(model, decisions.x)
        report["qdq_agreement"] = float(np.mean(device_classes == qdq_classes))
    if labels is not None:
        right = labels[: len(decisions.x)]
        report["calibration_accuracy"] = float(np.mean(device_classes == right))
        report["calibration_accuracy_float32"] = float(np.mean(decisions.float32 == right))
    return report


def layer_rows(graph: FloatGraph) -> list[Json]:
    """Layers of an imported network in order, those of its front included."""
    rows: list[Json] = [
        {"name": layer.name, "kind": type(layer).__name__.lower(), "outputs": layer.outputs}
        for layer in graph.layers
    ]
    nodes = graph.front.nodes if graph.front else ()
    at = 1 if graph.normalizer else 0
    rows[at:at] = [{"name": n.name, "kind": n.kind, "outputs": n.outputs} for n in nodes]
    return rows


def _qdq_classes(model: IntModel, x: Float32Array) -> Int64Array:
    session = onnxruntime.InferenceSession(export_qdq(model).SerializeToString())
    logits = session.run(["logits"], {INPUT: x})[0]
    classes: Int64Array = np.argmax(np.asarray(logits), axis=1).astype(np.int64)
    return classes


def _layer_row(layer: Any) -> Json:
    return {
        "name": layer.name,
        "shape": [layer.outputs, layer.inputs],
        "out_frac_bits": layer.out_frac_bits,
        "x_range": layer.x_range / 16,
        "w_range": layer.w_range / 16,
    }


def as_invalid(error: CodegenError) -> InvalidInputError:
    """A refusal of the quantizer or an export as an error of the service."""
    return InvalidInputError(str(error), [Issue(error.what, error.where, error.expected)])
