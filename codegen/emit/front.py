# SPDX-License-Identifier: Apache-2.0
"""Constants of the front (SPEC.md 4.1): one table of structures a kind of node."""

from collections.abc import Iterator

from codegen.emit.literals import comment_text, table
from codegen.inference import TABLES
from device.twin.front_node import FrontNode
from device.twin.inference import AnyModel

_TYPES = {
    "conv": "had_conv_node",
    "average": "had_average_node",
    "max": "had_max_node",
    "add": "had_add_node",
    "concat": "had_part_node",
    "table": "had_table_node",
}


def front_header(model: AnyModel) -> list[str]:
    """Declarations for hadapt_model.h."""
    return [f"extern const {_declaration(model, kind)};" for kind in _kinds(model)]


def front_tables(model: AnyModel) -> list[str]:
    """Definitions for hadapt_tables.c."""
    lines: list[str] = []
    for at, node in enumerate(model.front):
        lines += _arrays(at, node)
    for kind in _kinds(model):
        lines += [f"const {_declaration(model, kind)} = {{"]
        for entry in _entries(model, kind):
            lines += entry
        lines += ["};", ""]
    return lines


def _kinds(model: AnyModel) -> list[str]:
    return [kind for kind in TABLES if any(node.kind == kind for node in model.front)]


def _declaration(model: AnyModel, kind: str) -> str:
    return f"{_TYPES[kind]} {TABLES[kind]}[{len(list(_entries(model, kind)))}]"


def _entries(model: AnyModel, kind: str) -> Iterator[list[str]]:
    for at, node in enumerate(model.front):
        if node.kind == kind == "concat":
            for part in range(len(node.sources)):
                yield _entry(node, _part(node, part))
        elif node.kind == kind:
            yield _entry(node, _FIELDS[kind](at, node))


def _entry(node: FrontNode, fields: list[tuple[str, str]]) -> list[str]:
    lines = [f"        .{name} = {value}," for name, value in fields]
    return [f"    {{ /* {comment_text(node.name)} */", *lines, "    },"]


def _arrays(at: int, node: FrontNode) -> list[str]:
    what = f"front {at}, {node.name}"
    if node.kind == "table":
        return table(f"static const int8_t front{at}_table[256U]", node.table, what)
    if node.kind != "conv":
        return []
    outputs = len(node.weight)
    terms = node.weight.size // outputs
    rows = (
        (f"int8_t front{at}_weight[{outputs}U * {terms}U]", node.weight, "weights"),
        (f"int32_t front{at}_bias[{outputs}U]", node.bias, "bias"),
        (f"int16_t front{at}_mult[{outputs}U]", node.mult, "mult"),
        (f"uint8_t front{at}_shift[{outputs}U]", node.shift, "shift"),
        (f"uint8_t front{at}_acc_shift[{outputs}U]", node.acc_shifts, "acc_shift"),
    )
    lines: list[str] = []
    for declaration, values, name in rows:
        lines += table(f"static const {declaration}", values, f"{what}: {name}")
    return lines


def _requant(node: FrontNode) -> tuple[str, str]:
    return "out", f"{{{node.out_amax}, {node.qmax}U, {int(node.nonnegative)}U}}"


def _window(node: FrontNode) -> tuple[str, str]:
    pairs = (node.kernel, node.stride, node.dilation, node.pad)
    numbers = [*node.in_shapes[0], *node.out_shape, *(n for pair in pairs for n in pair)]
    return "window", "{" + ", ".join(f"{n}U" for n in numbers) + "}"


def _conv(at: int, node: FrontNode) -> list[tuple[str, str]]:
    names = ("weight", "bias", "mult", "shift", "acc_shift")
    arrays = [(name, f"front{at}_{name}") for name in names]
    return [*arrays, _window(node), ("groups", f"{node.groups}U"), _requant(node)]


def _average(_: int, node: FrontNode) -> list[tuple[str, str]]:
    return [
        _window(node),
        ("mult", str(int(node.mult[0]))),
        ("shift", f"{int(node.shift[0])}U"),
        ("acc_shift", f"{int(node.acc_shifts[0])}U"),
        _requant(node),
    ]


def _max(_: int, node: FrontNode) -> list[tuple[str, str]]:
    return [_window(node)]


def _add(_: int, node: FrontNode) -> list[tuple[str, str]]:
    return [
        ("size", f"{node.outputs}U"),
        ("mult_a", str(int(node.mult[0]))),
        ("mult_b", str(int(node.mult[1]))),
        ("shift", f"{int(node.shift[0])}U"),
        _requant(node),
    ]


def _part(node: FrontNode, part: int) -> list[tuple[str, str]]:
    height, width, channels = node.in_shapes[part]
    return [
        ("pixels", f"{height * width}U"),
        ("channels", f"{channels}U"),
        ("out_channels", f"{node.out_shape[2]}U"),
        ("first", f"{sum(shape[2] for shape in node.in_shapes[:part])}U"),
        ("mult", str(int(node.mult[part]))),
        ("shift", f"{int(node.shift[part])}U"),
        _requant(node),
    ]


def _table(at: int, node: FrontNode) -> list[tuple[str, str]]:
    return [("table", f"front{at}_table"), ("size", f"{node.outputs}U")]


_FIELDS = {"conv": _conv, "average": _average, "max": _max, "add": _add, "table": _table}
