# SPDX-License-Identifier: Apache-2.0
"""Options of the service into options of the quantizer, and the report of a quantization."""

from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from typing import Any

import numpy as np
import onnxruntime

from codegen.errors import CodegenError, QuantizeError
from codegen.export import export_qdq
from codegen.export.builder import INPUT
from codegen.graph import FloatGraph
from codegen.quantize import QuantizeOptions, trained_counts
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


def quantize_report(graph: FloatGraph, model: IntModel, calibration: Calibration) -> Json:
    """What a person wants to know of a new integer model.

    Accuracies and agreements are on the calibration samples (at most 512): they show what
    quantizing cost, not how good the model is. `calibration_agreement_fine`: with the option
    fine_inference, where the model may have it and has not. `qdq_agreement`: how often onnxruntime,
    running the qdq form, decides as the device does; null for models with convolutions, which have
    none.
    """
    x, y = calibration.x[:_REPORT_ROWS], calibration.y
    raw = raw_samples(model, x)
    device_classes, _ = TwinLearner(model).infer_many(raw)
    if model.signal is not None:
        x = features_of(model.signal, x)
    logits = graph.forward(x)
    float_classes = np.argmax(logits, axis=1)
    report: Json = {
        "model_id": model.model_id.hex(),
        "arithmetic": {name: getattr(model.arithmetic, name) for name in _ARITHMETIC},
        "trainable_layers": [_layer_row(layer) for layer in model.layers],
        "front": [{"name": n.name, "shape": list(n.out_shape)} for n in model.front],
        "frozen_layers": [{"name": f.name, "shape": list(f.weight.shape)} for f in model.frozen],
        "max_classes": model.max_classes,
        "exemplars": len(model.exemplars),
        "calibration_agreement": float(np.mean(device_classes == float_classes)),
        "qdq_agreement": None,
    }
    if can_be_fine(model) and not model.fine_inference:
        fine = replace(model, fine_inference=True)
        fine_classes, _ = TwinLearner(fine).infer_many(raw)
        report["calibration_agreement_fine"] = float(np.mean(fine_classes == float_classes))
    if not model.has_image:
        report["qdq_agreement"] = float(np.mean(device_classes == _qdq_classes(model, x)))
    if y is not None:
        labels = y[: len(x)]
        report["calibration_accuracy"] = float(np.mean(device_classes == labels))
        report["calibration_accuracy_float32"] = float(np.mean(float_classes == labels))
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
