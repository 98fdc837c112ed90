# SPDX-License-Identifier: Apache-2.0
"""Model to plan: sizes worked by hand from SPEC.md."""

from dataclasses import replace

import numpy as np
import pytest

from codegen.accumulators import accumulator_bound, accumulator_shift
from codegen.errors import GenerateError
from codegen.lower import lower
from device.twin.model import Arithmetic, Exemplar
from tests.parity.models import SPECS, ModelSpec, make_model

SPEC = {spec.name: spec for spec in SPECS}
TWO_LAYERS = ModelSpec("two", (20, 12, 5), arithmetic={"order": 8, "batch": 10})


@pytest.mark.parametrize(
    ("arithmetic", "terms", "qa", "qb", "bound", "shift"),
    [
        (Arithmetic(tile_k=32, acc_bits=8), 64, 15, 7, 256, 0),
        (Arithmetic(tile_k=32, acc_bits=16), 405, 15, 7, 42525, 1),
        (Arithmetic(tile_k=4, acc_bits=12), 33, 7, 7, 1617, 0),
        (Arithmetic(tile_k=32, acc_bits=32), 2000, 15, 7, 210000, 3),
        (Arithmetic(tile_k=1, acc_bits=8), 3, 15, 7, 315, 0),
    ],
)
def test_accumulator_bound_and_shift_are_those_of_the_specification(
    arithmetic: Arithmetic, terms: int, qa: int, qb: int, bound: int, shift: int
) -> None:
    assert accumulator_bound(arithmetic, terms, qa, qb) == bound
    assert accumulator_shift(arithmetic, terms, qa, qb) == shift


def test_lower_lists_the_operations_of_the_step_in_order() -> None:
    plan = lower(make_model(TWO_LAYERS))
    # (rows, units) by hand from the table of SPEC.md 8.6: I 20, 12; O 12, 5; B 10; n 8.
    assert [(op.label, op.rows, op.units) for op in plan.operations] == [
        ("GATHER", 10, 1),
        ("FORWARD_0", 12, 5),  # 200 + 80
        ("ACTIVATE_0", 10, 1),  # 24
        ("FORWARD_1", 5, 3),  # 120 + 48
        ("LOSS", 10, 2),  # 80
        ("ERROR_RANGE_1", 10, 1),  # 32
        ("WEIGHT_RANGE_1", 12, 1),
        ("ERROR_QUANTIZE_1", 10, 1),  # 64
        ("INPUT_GRADIENT_1", 12, 3),  # 80 + 64
        ("ACTIVATION_RANGE_1", 12, 1),  # 64
        ("ACTIVATION_QUANTIZE_1", 12, 2),  # 128
        ("WEIGHT_GRADIENT_1", 5, 7),  # 192 + 128 + 96
        ("ACTIVATION_RANGE_0", 20, 1),
        ("ACTIVATION_QUANTIZE_0", 20, 2),
        ("WEIGHT_GRADIENT_0", 12, 10),  # 320 + 128 + 160
    ]


def test_lower_pads_batch_and_outputs() -> None:
    plan = lower(make_model(TWO_LAYERS))
    assert (plan.batch_padded, plan.batch_stride, plan.lanes) == (16, 16, 4)
    assert [layer.outputs_padded for layer in plan.layers] == [16, 8]


def test_lower_without_transform_pads_rows_to_words_only() -> None:
    plan = lower(make_model(SPEC["off"]))
    assert (plan.batch_padded, plan.batch_stride) == (6, 8)


def test_lower_counts_masters_biases_and_view() -> None:
    plan = lower(make_model(SPEC["odd"]))
    assert plan.master_count == 45 * 13 + 13 * 7
    assert plan.bias_count == 20
    assert plan.view_bytes == 4 * (2 * 48 + 16)  # eight rows in a word a term, to fours
    assert plan.layers[1].master_at == 585


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_lower_lanes_divide_the_stride(spec: ModelSpec) -> None:
    for host in (False, True):
        plan = lower(make_model(spec), host=host)
        assert plan.batch_stride % plan.lanes == 0


def test_lower_of_the_microbit_model_is_within_a_hundredth_of_the_lower_bound() -> None:
    spec = ModelSpec("m", (64, 32, 10), arithmetic={"order": 16, "batch": 16, "master_bits": 8})
    arena = lower(make_model(spec), core="M0").arena
    assert (arena.bytes, arena.lower_bound) == (3728, 3712)


def test_lower_takes_rows_in_fields_only_where_every_sum_fits() -> None:
    fits = {"order": 16, "tile_k": 32, "acc_bits": 8}
    small = ModelSpec("s", (40, 9, 5), arithmetic=fits)
    assert (lower(make_model(small)).rows, lower(make_model(small), core="M0").rows) == (4, 8)
    assert lower(make_model(small), host=True).rows == 8
    for change in ({"tile_k": 320}, {"saturation": "every_add"}):
        spec = ModelSpec("s", (40, 9, 5), arithmetic={**fits, **change})
        assert lower(make_model(spec)).rows == 1
        assert lower(make_model(spec), host=True).rows == 1
    wide = ModelSpec("w", (330, 9, 5), arithmetic={**fits, "acc_bits": 16})
    assert lower(make_model(wide)).rows == 1  # 330 * 15 * 7 >= 2**15


def test_lower_of_layers_that_do_not_fit_together_is_refused() -> None:
    model = make_model(TWO_LAYERS)
    with pytest.raises(GenerateError, match="takes 20 values"):
        lower(replace(model, layers=(model.layers[0], model.layers[0])))


def test_lower_of_too_many_slots_is_refused() -> None:
    with pytest.raises(GenerateError, match="slots"):
        lower(replace(make_model(TWO_LAYERS), exemplar_slots=65535))


@pytest.mark.parametrize("label", [3, 0])
def test_lower_of_exemplars_that_clash_is_refused(label: int) -> None:
    model = make_model(TWO_LAYERS)
    twice = Exemplar(label, 0, np.zeros(20, np.int8))
    with pytest.raises(GenerateError, match="clash"):
        lower(replace(model, exemplars=(*model.exemplars, twice)))


def test_lower_of_exemplars_out_of_range_is_refused() -> None:
    model = make_model(TWO_LAYERS)
    wild = Exemplar(0, 9, np.full(20, -1, np.int8))
    with pytest.raises(GenerateError, match="range"):
        lower(replace(model, exemplars=(wild,)))
