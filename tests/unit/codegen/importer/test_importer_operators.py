# SPDX-License-Identifier: Apache-2.0
"""The page of operators is what the importer does, and what is taken computes what it should."""

from pathlib import Path

import pytest

from tests.suite.operators import CASES, LAYOUTS, page, verdict

PAGE = Path(__file__).parents[4] / "docs" / "operators.md"
REFUSED = {"ConvTranspose", "Exp", "LSTM", "Mul of two tensors", "Resize"}


def test_page_of_operators_is_that_of_the_code() -> None:
    assert PAGE.read_text() == page()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_takes_all_but_what_is_refused_by_name(layout: str) -> None:
    refused = {name: verdict(name, layout) for name in CASES if name in REFUSED}
    assert all(reason.startswith("node ") for reason in refused.values())
    assert {line.split(" | ")[0][2:] for line in page().splitlines() if "node " in line} == REFUSED
