# SPDX-License-Identifier: Apache-2.0
"""Whether the outputs of a network are classes at all."""

from codegen.errors import INFERENCE_ONLY, QuantizeError
from codegen.graph import FloatGraph

MANY = 16  # outputs; below, as many outputs as inputs may be chance


def check_classifier(graph: FloatGraph, labelled: bool) -> None:
    """Refuse a network that gives back as many numbers as it reads, and says of none that it is a
    class: neither its file (a softmax, an argmax, names) nor labels of samples.

    Args:
        labelled: whether the calibration samples have labels.
    Raises: QuantizeError, also for a graph that was imported to be run only.
    """
    if not graph.dense_layers:
        raise QuantizeError(
            "no layer can learn",
            where=f"model {graph.name}",
            expected="a classifier that ends in dense layers",
        )
    evident = graph.is_decision or graph.class_names is not None or labelled
    if not evident and graph.features == graph.n_classes >= MANY:
        raise QuantizeError(
            f"{graph.n_classes} outputs for as many inputs, and nothing that makes classes of them",
            where=f"model {graph.name}",
            expected=f"a classifier, told by a softmax or argmax at its end or by labels of the "
            f"calibration samples; {INFERENCE_ONLY}",
        )
