# SPDX-License-Identifier: Apache-2.0
"""A float network that is only to run, to an inference-only model (SPEC.md 17)."""

from codegen.errors import QuantizeError
from codegen.graph import FloatGraph
from codegen.quantize.calibration import checked_samples, normalized
from codegen.quantize.front import fit_whole, samples_at_once, spread
from codegen.quantize.options import QuantizeOptions
from codegen.quantize.quantizer import image_stage
from codegen.quantize.ranges import FloatArray
from codegen.quantize.signal import features_of, signal_of
from device.twin.inference import InferenceModel


def quantize_inference(
    graph: FloatGraph, calibration: FloatArray, options: QuantizeOptions | None = None
) -> InferenceModel:
    """Make the inference-only model of a float graph.

    Args:
        graph: imported with `inference_only`.
        calibration: as of `codegen.quantize.quantize`.
        options: only `features` means something here.
    Raises: QuantizeError, CalibrationError, ShapeError.
    """
    front = graph.front
    if front is None or graph.dense_layers:
        raise QuantizeError(
            "dense layers that learn",
            where=f"model {graph.name}",
            expected="a graph imported with inference_only",
        )
    features = None if options is None else options.features
    signal = None if features is None else signal_of(graph, features, calibration)
    if signal is not None:
        calibration = features_of(signal, calibration)
    x = spread(checked_samples(graph, calibration), samples_at_once(front))
    if graph.normalizer is not None:
        normalized(graph.normalizer, x)  # names samples that it cannot take
    stage, q = image_stage(graph, front, x, None if signal is None else signal.feature_bits)
    nodes, scale = fit_whole(front, q, stage.scale, not stage.signed)
    return InferenceModel(graph.name, stage, nodes, scale, signal)
