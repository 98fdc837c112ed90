# SPDX-License-Identifier: Apache-2.0
"""Node attributes, decoded."""

from math import isnan

import numpy as np
from onnx import AttributeProto, NodeProto

from codegen.errors import MalformedModelError, ModelTooLargeError, UnsupportedModelError
from codegen.importer.limits import MAX_ELEMENTS
from codegen.importer.names import utf8
from codegen.importer.source import AttributeValue, shown
from codegen.importer.tensors import check_finite, read_tensor

MISSING = "replaced_value_float"  # of an Imputer: NaN, and no weight


def read_attributes(node: NodeProto, where: str) -> dict[str, AttributeValue]:
    """Decode the attributes of a node.

    Args:
        node: untrusted.
        where: what to call it in messages.
    Raises: MalformedModelError, UnsupportedModelError, ModelTooLargeError, BadWeightError.
    """
    values: dict[str, AttributeValue] = {}
    for attribute in node.attribute:
        name = utf8(attribute.name, where)
        if name in values:
            raise MalformedModelError(
                f"attribute {shown(name)} is given twice", where=where, expected="each once"
            )
        values[name] = _read(attribute, where, shown(name))
    return values


def _read(attribute: AttributeProto, where: str, name: str) -> AttributeValue:
    kind = attribute.type
    if kind == AttributeProto.INT:
        return int(attribute.i)
    if kind == AttributeProto.FLOAT and name == MISSING and isnan(attribute.f):
        return float("nan")
    if kind == AttributeProto.FLOAT:
        return _floats([attribute.f], where, name)[0]
    if kind == AttributeProto.STRING:
        return _text(attribute.s, where, name)
    if kind == AttributeProto.TENSOR:
        return read_tensor(attribute.t, f"{name} of {where}")
    if kind == AttributeProto.FLOATS:
        _check_count(len(attribute.floats), where)
        return _floats(attribute.floats, where, name)
    if kind == AttributeProto.INTS:
        _check_count(len(attribute.ints), where)
        return tuple(attribute.ints)
    if kind == AttributeProto.STRINGS:
        return tuple(_text(item, where, name) for item in attribute.strings)
    raise UnsupportedModelError(
        f"attribute {name} holds a subgraph, a reference or an unknown type",
        where=where,
        expected="numbers, strings or a tensor",
    )


def _floats(values: object, where: str, name: str) -> tuple[float, ...]:
    array = np.array(values, dtype=np.float64)
    check_finite(array, f"{name} of {where}")
    return tuple(array.tolist())


def _text(value: bytes, where: str, name: str) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise MalformedModelError(
            f"attribute {name} is not UTF-8", where=where, expected="UTF-8 text"
        ) from error


def _check_count(count: int, where: str) -> None:
    if count > MAX_ELEMENTS:
        raise ModelTooLargeError("elements", actual=count, limit=MAX_ELEMENTS, where=where)
