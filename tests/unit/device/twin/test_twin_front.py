# SPDX-License-Identifier: Apache-2.0
"""The rules of a front (SPEC.md 4.1): models that break one are refused, whatever it is."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from codegen.errors import GenerateError
from codegen.lower import lower
from device.twin.front_node import FrontNode
from device.twin.model import IntModel, ModelFormatError
from tests.parity.fronts import make_witness

MODEL = make_witness()
DILATED, PLAIN, ALONE, LARGEST, AVERAGE, ADD, TABLE, LAST = range(8)


def changed(at: int, **changes: Any) -> IntModel:
    """The model with one node changed."""
    nodes: list[FrontNode] = list(MODEL.front)
    nodes[at] = replace(nodes[at], **changes)
    return replace(MODEL, front=tuple(nodes))


def stage(**changes: Any) -> IntModel:
    """The model with its input stage changed."""
    return replace(MODEL, input=replace(MODEL.input, **changes))


BROKEN = {
    "unknown kind": changed(PLAIN, kind="deconv"),
    "kind is a list": changed(PLAIN, kind=["conv"]),
    "reads itself": changed(PLAIN, sources=(2,)),
    "reads a later node": changed(PLAIN, sources=(5,)),
    "reads nothing": changed(PLAIN, sources=()),
    "negative source": changed(PLAIN, sources=(-1,)),
    "two inputs of a convolution": changed(PLAIN, sources=(1, 1), in_shapes=((6, 7, 6),) * 2),
    "one input of a sum": changed(ADD, sources=(4,), in_shapes=((3, 6, 5),)),
    "sum of unlike shapes": changed(ADD, sources=(4, 3), in_shapes=((3, 6, 5), (5, 7, 5))),
    "shape not that of the source": changed(PLAIN, in_shapes=((6, 7, 5),)),
    "shapes for two sources": changed(PLAIN, in_shapes=((6, 7, 6),) * 2),
    "shape of four numbers": changed(PLAIN, out_shape=(5, 7, 5, 1)),
    "shape with a zero": changed(PLAIN, out_shape=(5, 0, 5)),
    "shape with a float": changed(PLAIN, out_shape=(5, 7.0, 5)),
    "absurd shape": changed(PLAIN, out_shape=(60000, 60000, 5)),
    "weight of -128": changed(PLAIN, weight=np.full((5, 2, 3, 6), -128, np.int8)),
    "weight of another kernel": changed(PLAIN, kernel=(3, 2)),
    "groups that do not divide": changed(DILATED, groups=4),
    "no groups": changed(PLAIN, groups=0),
    "stride 0": changed(PLAIN, stride=(0, 1)),
    "stride of one number": changed(PLAIN, stride=(1,)),
    "negative pad": changed(PLAIN, pad=(0, -1)),
    "dilation 5000": changed(PLAIN, dilation=(5000, 1)),
    "shift of 31": changed(PLAIN, shift=np.full(5, 31, np.uint8)),
    "negative mult": changed(PLAIN, mult=np.full(5, -1, np.int16)),
    "bias too short": changed(PLAIN, bias=np.zeros(4, np.int32)),
    "range 0": changed(PLAIN, out_amax=0),
    "qmax of x0 inside": changed(PLAIN, qmax=15),
    "qmax 127 for x0": changed(LAST, qmax=127),
    "lo and qmax differ": changed(LAST, nonnegative=True),
    "lo is a number": changed(PLAIN, nonnegative=1),
    "a dilated average": changed(AVERAGE, dilation=(2, 2)),
    "an average of other channels": changed(AVERAGE, out_shape=(3, 6, 4)),
    "a window of max outside, above": changed(LARGEST, pad=(2, 0)),
    "a window of max outside, below": changed(LARGEST, out_shape=(5, 6, 5)),
    "table of 255": changed(TABLE, table=np.zeros(255, np.int8)),
    "table with -128": changed(TABLE, table=np.full(256, -128, np.int8)),
    "table below lo": changed(TABLE, nonnegative=True),
    "concat of too few channels": changed(LAST, out_shape=(3, 6, 14)),
    "concat with a mult too few": changed(LAST, mult=np.zeros(2, np.int16)),
    "x0 of a table": replace(MODEL, front=MODEL.front[:LAST]),
    "pixels that do not fit": stage(pixels=41),
    "pixels without a front": replace(MODEL, front=()),
    "planar is a number": stage(planar=1),
}


@pytest.mark.parametrize("name", BROKEN)
def test_front_that_breaks_a_rule_is_refused(name: str) -> None:
    with pytest.raises(ModelFormatError, match="not an integer model"):
        IntModel.from_bytes(BROKEN[name].to_bytes())


def test_sound_front_is_taken() -> None:
    assert IntModel.from_bytes(MODEL.to_bytes()).model_id == MODEL.model_id


def test_generator_refuses_a_front_that_breaks_a_rule() -> None:
    with pytest.raises(GenerateError, match=r"the front: breaks a rule: weight.*SPEC\.md 4\.1"):
        lower(BROKEN["weight of -128"])
