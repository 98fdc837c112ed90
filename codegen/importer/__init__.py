# SPDX-License-Identifier: Apache-2.0
"""ONNX files in: `import_onnx`.

The file is not trusted. Its way: `load` (bytes to protobuf, bounded), `read` (versions, structure,
tensors, ONNX's own checker), `lower` (each node gets its meaning), `fuse` (layers); at last ONNX's
shape inference must agree. Nothing of the file is executed.
"""

from hashlib import sha256

from codegen.graph import FloatGraph
from codegen.importer.check import check_shapes
from codegen.importer.fuse import fuse, fuse_whole
from codegen.importer.load import load_model
from codegen.importer.lower import SUPPORTED, lower
from codegen.importer.read import read_graph

__all__ = ["import_onnx", "supported_operators"]


def import_onnx(data: bytes, inference_only: bool = False) -> FloatGraph:
    """Read a float network from an ONNX file.

    Args:
        data: the whole file.
        inference_only: take whatever the network puts out, all of it in the front (SPEC.md 17);
            else it must be a classifier, which ends in dense layers.
    Returns: the graph; the same bytes always give the same graph.
    Raises: ModelImportError, of the kind and with the fields of codegen.errors.
    """
    source, model = read_graph(load_model(data), SUPPORTED)
    lowered = lower(source, inference_only)
    step = lowered.logits.step
    fused = fuse_whole(step) if inference_only else fuse(step)
    check_shapes(model)
    return FloatGraph(
        name=source.name,
        input_shape=source.input.shape,
        layers=fused.layers,
        front=fused.front,
        class_names=None if inference_only else lowered.class_names,
        is_decision=lowered.is_decision,
        output_order=lowered.logits.where if inference_only else None,
        source_sha256=sha256(data).hexdigest(),
    )


def supported_operators() -> tuple[str, ...]:
    """Operators the importer knows, sorted; others are refused by name."""
    return tuple(sorted(SUPPORTED))
