# SPDX-License-Identifier: Apache-2.0
"""ONNX files in: `import_onnx`.

The file is not trusted. Its way: `load` (bytes to protobuf, bounded), `read` (versions, structure,
tensors, ONNX's own checker), `lower` (each node gets its meaning), `fuse` (layers); at last ONNX's
shape inference must agree. Nothing of the file is executed.
"""

from hashlib import sha256

from codegen.graph import FloatGraph
from codegen.importer.check import check_shapes
from codegen.importer.fuse import fuse
from codegen.importer.load import load_model
from codegen.importer.lower import SUPPORTED, lower
from codegen.importer.read import read_graph

__all__ = ["import_onnx", "supported_operators"]


def import_onnx(data: bytes) -> FloatGraph:
    """Read a float classifier from an ONNX file.

    Args:
        data: the whole file.
    Returns: the graph; the same bytes always give the same graph.
    Raises: ModelImportError, of the kind and with the fields of codegen.errors.
    """
    source, model = read_graph(load_model(data), SUPPORTED)
    lowered = lower(source)
    fused = fuse(lowered.logits.step)
    check_shapes(model)
    return FloatGraph(
        name=source.name,
        input_shape=source.input.shape,
        layers=fused.layers,
        front=fused.front,
        class_names=lowered.class_names,
        source_sha256=sha256(data).hexdigest(),
    )


def supported_operators() -> tuple[str, ...]:
    """Operators the importer knows, sorted; others are refused by name."""
    return tuple(sorted(SUPPORTED))
