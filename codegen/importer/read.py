# SPDX-License-Identifier: Apache-2.0
"""ModelProto to SourceGraph: the structure is checked here, operator by operator meaning later."""

from collections.abc import Collection, Sequence
from math import prod

from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto

from codegen.errors import (
    MalformedModelError,
    ModelTooLargeError,
    UnsupportedModelError,
    UnsupportedOperatorError,
    UnsupportedOpsetError,
    UnsupportedShapeError,
)
from codegen.importer import limits
from codegen.importer.attributes import read_attributes
from codegen.importer.check import check_schemas
from codegen.importer.names import texts, utf8
from codegen.importer.source import ML_DOMAIN, Array, SourceGraph, SourceInput, SourceNode, shown
from codegen.importer.structure import Wiring, live_nodes
from codegen.importer.tensors import read_tensor

_FLOAT_TYPES = (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16)
_INTEGER_TYPES = (
    TensorProto.INT8,
    TensorProto.INT16,
    TensorProto.INT32,
    TensorProto.INT64,
    TensorProto.UINT8,
    TensorProto.UINT16,
)


def read_graph(model: ModelProto, supported: Collection[str]) -> tuple[SourceGraph, ModelProto]:
    """Check a model's structure and take out what its outputs depend on.

    Args:
        model: parsed, untrusted.
        supported: operators with a meaning, as in SourceNode.operator.
    Returns: the part that the outputs depend on, decoded; the same part as a model.
    Raises: ModelImportError of the fitting kind, naming node or tensor.
    """
    _check_versions(model)
    graph = model.graph
    _check_form(model)
    initializers = _by_name(graph)
    inputs = _named_inputs(graph)
    outputs = [utf8(value.name, "graph output") for value in graph.output]
    if not outputs:
        raise MalformedModelError("no outputs", where="graph", expected="at least one")
    wiring = [_wiring(i, node) for i, node in enumerate(graph.node)]
    order, used = live_nodes(wiring, frozenset(initializers) | frozenset(inputs), outputs)
    _check_operators(model, order, supported)
    fed = _only_input([name for name in inputs if name in used and name not in initializers])
    source_input = _read_input(inputs[fed], fed)
    versions = {entry.domain or "ai.onnx": entry.version for entry in model.opset_import}
    constants = {
        name: read_tensor(tensor, shown(name))
        for name, tensor in initializers.items()
        if name in used
    }
    _check_total(constants)
    nodes = tuple(_read_node(i, graph.node[i], versions) for i in order)
    live = _live_model(model, order, used)
    check_schemas(live)
    source = SourceGraph(
        name=shown(utf8(graph.name, "graph name")),
        nodes=nodes,
        constants=constants,
        input=source_input,
        outputs=tuple(outputs),
    )
    return source, live


def _check_versions(model: ModelProto) -> None:
    if not limits.MIN_IR_VERSION <= model.ir_version <= limits.MAX_IR_VERSION:
        raise UnsupportedModelError(
            f"IR version {model.ir_version}",
            where="ir_version",
            expected=f"{limits.MIN_IR_VERSION} to {limits.MAX_IR_VERSION}",
        )
    versions: dict[str, int] = {}
    for entry in model.opset_import:
        domain = utf8(entry.domain, "opset domain") or "ai.onnx"
        if versions.setdefault(domain, entry.version) != entry.version:
            raise MalformedModelError(
                f"two versions of domain {shown(domain)}",
                where="opset_import",
                expected="one version a domain",
            )
    _check_opset(versions, "ai.onnx", limits.MIN_OPSET, limits.MAX_OPSET)
    _check_opset(versions, ML_DOMAIN, limits.MIN_ML_OPSET, limits.MAX_ML_OPSET)
    if not versions:
        raise MalformedModelError("no operator set", where="opset_import", expected="one a domain")


def _check_opset(versions: dict[str, int], domain: str, lowest: int, highest: int) -> None:
    version = versions.get(domain, lowest)
    if not lowest <= version <= highest:
        raise UnsupportedOpsetError(domain, version, lowest, highest)


def _check_form(model: ModelProto) -> None:
    graph = model.graph
    if len(graph.node) > limits.MAX_NODES:
        raise ModelTooLargeError(
            "nodes", actual=len(graph.node), limit=limits.MAX_NODES, where="graph"
        )
    if graph.sparse_initializer:
        raise UnsupportedModelError(
            "sparse initialisers", where="graph", expected="dense initialisers"
        )


def _by_name(graph: GraphProto) -> dict[str, TensorProto]:
    initializers: dict[str, TensorProto] = {}
    for tensor in graph.initializer:
        name = utf8(tensor.name, "initialiser")
        if name in initializers:
            raise MalformedModelError(
                "initialiser is given twice",
                where=f"tensor {shown(name)}",
                expected="each tensor defined once",
            )
        initializers[name] = tensor
    return initializers


def _named_inputs(graph: GraphProto) -> dict[str, ValueInfoProto]:
    inputs: dict[str, ValueInfoProto] = {}
    for value in graph.input:
        name = utf8(value.name, "graph input")
        if name in inputs:
            raise MalformedModelError(
                "input is given twice",
                where=f"input {shown(name)}",
                expected="each tensor defined once",
            )
        inputs[name] = value
    return inputs


def _wiring(index: int, node: NodeProto) -> Wiring:
    inputs = texts(node.input, f"node #{index}")
    outputs = texts(node.output, f"node #{index}")
    return Wiring(
        f"node {_node_name(index, node)} ({shown(utf8(node.op_type, 'operator'))})",
        tuple(name for name in inputs if name),
        tuple(name for name in outputs if name),
    )


def _node_name(index: int, node: NodeProto) -> str:
    return shown(utf8(node.name, f"node #{index}")) or f"#{index}"


def _operator(node: NodeProto) -> str:
    domain = utf8(node.domain, "domain")
    operator = utf8(node.op_type, "operator")
    return operator if domain in ("", "ai.onnx") else f"{domain}.{operator}"


def _check_operators(model: ModelProto, order: Sequence[int], supported: Collection[str]) -> None:
    functions = {
        (utf8(f.domain, "domain") or "ai.onnx", utf8(f.name, "function")) for f in model.functions
    }
    for i in order:
        node = model.graph.node[i]
        operator = _operator(node)
        if (utf8(node.domain, "domain") or "ai.onnx", node.op_type) in functions:
            raise UnsupportedModelError(
                f"calls the local function {shown(operator)}",
                where=f"node {_node_name(i, node)}",
                expected="functions inlined (onnx.inliner.inline_local_functions)",
            )
        if operator not in supported:
            raise UnsupportedOperatorError(_node_name(i, node), shown(operator), sorted(supported))


def _only_input(names: list[str]) -> str:
    if len(names) == 1:
        return names[0]
    listed = ", ".join(shown(name) for name in names[:8]) or "none"
    raise UnsupportedModelError(
        f"{len(names)} inputs: {listed}",
        where="graph inputs",
        expected="one tensor that holds all features",
    )


def _read_input(value: ValueInfoProto, name: str) -> SourceInput:
    where = f"input {shown(name)}"
    tensor = value.type.tensor_type
    if tensor.elem_type not in _FLOAT_TYPES + _INTEGER_TYPES:
        raise UnsupportedModelError(
            f"element type {tensor.elem_type}", where=where, expected="a float32 tensor"
        )
    rank = len(tensor.shape.dim)
    if not 2 <= rank <= limits.MAX_RANK:
        raise UnsupportedShapeError(
            f"{rank} dimensions", where=where, expected="(batch, features) or (batch, ...)"
        )
    sizes = [dim.dim_value if dim.HasField("dim_value") else 0 for dim in tensor.shape.dim]
    for axis, size in enumerate(sizes[1:], start=1):
        if size <= 0:
            param = shown(utf8(tensor.shape.dim[axis].dim_param, "dimension")) or "unnamed"
            raise UnsupportedShapeError(
                f"dimension {axis} ({param}) is not fixed",
                where=where,
                expected="only the batch dimension 0 free; export with fixed feature sizes",
            )
    features = prod(sizes[1:])
    if features > limits.MAX_FEATURES:
        raise ModelTooLargeError(
            "features", actual=features, limit=limits.MAX_FEATURES, where=where
        )
    batch = sizes[0] if sizes[0] > 0 else None
    return SourceInput(name, tuple(sizes[1:]), batch, tensor.elem_type in _FLOAT_TYPES)


def _check_total(constants: dict[str, Array]) -> None:
    total = sum(array.size for array in constants.values())
    if total > limits.MAX_FOLDED_ELEMENTS:
        raise ModelTooLargeError(
            "elements", actual=total, limit=limits.MAX_FOLDED_ELEMENTS, where="initialisers"
        )


def _read_node(index: int, node: NodeProto, versions: dict[str, int]) -> SourceNode:
    name = _node_name(index, node)
    operator = _operator(node)
    domain = node.domain or "ai.onnx"
    if domain not in versions:
        raise MalformedModelError(
            f"domain {domain} is not imported", where=f"node {name}", expected="an opset_import"
        )
    return SourceNode(
        index=index,
        name=name,
        operator=operator,
        inputs=texts(node.input, f"node {name}"),
        outputs=texts(node.output, f"node {name}"),
        attributes=read_attributes(node, f"node {name} ({operator})"),
        opset=versions[domain],
    )


def _live_model(model: ModelProto, order: Sequence[int], used: frozenset[str]) -> ModelProto:
    """A copy with live parts only: what is unused, or only claimed, shall not matter."""
    graph = GraphProto(
        name="live",
        node=[model.graph.node[i] for i in order],
        initializer=[tensor for tensor in model.graph.initializer if tensor.name in used],
        input=[value for value in model.graph.input if value.name in used],
        output=model.graph.output,
    )
    versions = {entry.domain: entry for entry in model.opset_import}
    return ModelProto(
        ir_version=model.ir_version, opset_import=list(versions.values()), graph=graph
    )
