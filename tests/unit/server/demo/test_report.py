# SPDX-License-Identifier: Apache-2.0
"""The report of a small demo.json: well-formed, self-contained, accessible, complete."""

import io
import re
from xml.etree import ElementTree

import pytest
from rich.console import Console

from server.demo.html import Markup, tag, void
from server.demo.report import render
from server.demo.tables import print_tables
from tests.unit.server.demo.example import ELF, HASH, NAMES, document


@pytest.fixture(scope="module")
def page() -> str:
    return render(document())


@pytest.fixture(scope="module")
def root(page: str) -> ElementTree.Element:
    return ElementTree.fromstring(page.removeprefix("<!DOCTYPE html>"))


def text_of(element: ElementTree.Element) -> str:
    return "".join(element.itertext())


def test_render_example_is_well_formed_xml(root: ElementTree.Element) -> None:
    assert root.tag == "html" and root.get("lang") == "en"


def test_render_example_fetches_nothing(page: str, root: ElementTree.Element) -> None:
    assert not re.search(r"(https?:)?//|url\(|@import", page.removeprefix("<!DOCTYPE html>"))
    assert not {"script", "link", "img", "iframe", "object"} & {e.tag for e in root.iter()}
    assert not [e for e in root.iter() if e.get("src") or e.get("href") or e.get("onclick")]


def test_render_example_names_every_class_in_the_matrix(root: ElementTree.Element) -> None:
    matrix = next(t for t in root.iter("table") if t.get("class") == "confusion")
    heads = [text_of(th) for th in matrix.iter("th")]
    assert heads[1:4] == NAMES and heads[4:] == NAMES
    cells = [[text_of(td) for td in tr.iter("td")] for tr in matrix.iter("tr")][1:]
    assert cells == [["3", "1", "·"], ["·", "2", "·"], ["1", "·", "1"]]


def test_render_example_titles_every_plot(root: ElementTree.Element) -> None:
    plots = [s for s in root.iter("svg") if s.get("role") == "img"]
    assert len(plots) == 4
    for plot in plots:
        ids = {e.get("id") for e in plot.iter() if e.get("id")}
        assert set((plot.get("aria-labelledby") or "").split()) <= ids
        assert plot.findtext("title") and plot.findtext("desc")


def test_render_example_ids_are_unique(root: ElementTree.Element) -> None:
    ids = [e.get("id") for e in root.iter() if e.get("id")]
    assert len(ids) == len(set(ids))


def test_render_example_tables_have_caption_and_header_cells(root: ElementTree.Element) -> None:
    for table in root.iter("table"):
        assert table.findtext("caption")
        assert all(th.get("scope") in ("col", "row") for th in table.iter("th"))


def test_render_example_holds_the_results(root: ElementTree.Element) -> None:
    text = text_of(root)
    for expected in ("83.3 %", "90.0 %", HASH, ELF, "microbit *", "qemu-system-riscv32 is missing"):
        assert expected in text


def test_render_without_device_says_why() -> None:
    changed = document()
    changed["datasets"][0]["fielded"] = {"error": "no emulator"}
    changed["datasets"][0]["memory"] = []
    for task in changed["tasks"]:
        task["device"] = None
    page = render(changed)
    assert "No device could be kept running here: no emulator" in page
    ElementTree.fromstring(page.removeprefix("<!DOCTYPE html>"))


def test_render_bars_are_to_scale(root: ElementTree.Element) -> None:
    bars = next(
        s for s in root.iter("svg") if (s.get("aria-labelledby") or "").startswith("motion-ram")
    )
    widths = [float(g[1].get("width", "0")) for g in bars.findall("g")]
    whole = 418  # of the bar, which stands for all 1500 bytes
    assert widths == pytest.approx([700 / 1500 * whole, 300 / 1500 * whole], abs=0.01)


def test_render_curve_higher_accuracy_is_higher_up(root: ElementTree.Element) -> None:
    curve = next(e for e in root.iter("polyline"))
    (_, first), (_, second) = (p.split(",") for p in (curve.get("points") or "").split())
    assert float(first) < float(second)


def test_tag_text_is_escaped_but_markup_is_not() -> None:
    assert tag("p", "<b>", Markup("<i></i>"), title='"') == '<p title="&quot;">&lt;b&gt;<i></i></p>'
    assert void("meta", charset="utf-8") == '<meta charset="utf-8" />'


def test_print_tables_example_shows_every_board_and_task() -> None:
    console = Console(file=io.StringIO(), width=160, no_color=True)
    print_tables(document(), console)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    for expected in ("task 1", "microbit *", "not run", "83.3 %", "running device", HASH[:16]):
        assert expected in shown
