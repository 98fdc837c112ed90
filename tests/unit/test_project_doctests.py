# SPDX-License-Identifier: Apache-2.0
"""The examples in docstrings run."""

import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def modules_with_examples() -> list[str]:
    """Modules of ours with an example in them."""
    paths = [p for top in ("server", "codegen", "device") for p in (ROOT / top).rglob("*.py")]
    named = [p.relative_to(ROOT).with_suffix("") for p in paths if ">>> " in p.read_text()]
    return sorted(".".join(p.parts).removesuffix(".__init__") for p in named)


@pytest.mark.parametrize("name", modules_with_examples())
def test_docstring_examples_give_what_they_show(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name), raise_on_error=False)
    assert result.attempted > 0
    assert result.failed == 0, f"python -m doctest of {name}; see the captured output"
