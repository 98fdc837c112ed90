# SPDX-License-Identifier: Apache-2.0
"""Bounds of products, worked by hand."""

from dataclasses import replace

import pytest

from codegen.bounds import product_bounds
from codegen.errors import GenerateError
from codegen.lower import lower
from tests.parity.models import ModelSpec, make_model

SPEC = ModelSpec("b", (40, 9, 5), arithmetic={"order": 4, "batch": 6, "tile_k": 16, "acc_bits": 8})


def test_product_bounds_are_the_lesser_of_saturated_tiles_and_exact_sums() -> None:
    model = make_model(SPEC)
    assert product_bounds(model, lower(model)) == [
        {"forward": 3 * 128, "input_gradient": 0, "weight_gradient": 128},
        {"forward": 128, "input_gradient": 128, "weight_gradient": 128},
    ]


def test_product_bounds_of_a_batch_too_large_for_the_gradient_are_refused() -> None:
    model = make_model(replace(SPEC, arithmetic={**SPEC.arithmetic, "acc_bits": 32}))
    plan = replace(lower(model), batch_padded=672)  # 672 * 49 > 2**15 - 1
    with pytest.raises(GenerateError, match="weight gradient may reach 32928"):
        product_bounds(model, plan)
