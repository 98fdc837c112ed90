# SPDX-License-Identifier: Apache-2.0
"""DESIGN.md shows what its command prints."""

from pathlib import Path

from device.twin import figures

DESIGN = Path(figures.__file__).parents[1] / "DESIGN.md"


def test_figures_of_the_design_page_are_those_its_command_prints() -> None:
    printed = "\n".join(figures.lines())
    text = DESIGN.read_text(encoding="utf-8")
    assert printed in text, f"run python -m device.twin.figures; it prints\n{printed}"
