# SPDX-License-Identifier: Apache-2.0
"""cost.md: the figures as tables, a model each, quoted figures of others beside."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import TypeVar

from benchmarks.cost import CostReport
from benchmarks.measure import Measured
from benchmarks.peers import QUOTES, Quote
from benchmarks.records import Record
from benchmarks.targets import CORES as TARGET_CORES
from benchmarks.targets import TARGETS, Standing, standings

CORES = ("M0", "M3", "M4", "M7", "M33", "M55", "RV32")
PROFILED = ("M0", "M4", "M55")
PROFILE_ROWS = 12

T = TypeVar("T")

_INTRODUCTION = """\
# What it costs

Written by `make bench`; the names are explained in [README.md](../README.md). Instructions are
exact counts of executed guest instructions in QEMU, no estimates of time. A MAC is a useful
multiply-accumulate; padding does not count. A call includes all that it takes: packing, saturating
tiles, requantisation, bias. Rows marked *quoted* are other libraries' and were not measured by
this command: [peers.py](../peers.py) says how they came about.
"""

_TARGETS = """\
The best of the compilers, each core for itself; M7 and M33 are within a few per cent of the M4.
*Quoted* is the best figure of another library (CMSIS-NN for products, AIfES for training), from
[peers.py](../peers.py). Where a target is missed, the tables below show by operation and function
where the instructions go.
"""

_ONE_BUILD = """\
No image has the best of two compilers: below, what a single build reaches for speed and code size
alike. Missed targets are bold.
"""


def cost_page(report: CostReport, kept: Mapping[str, str] | None = None) -> str:
    """The whole page; `kept`: profiles that were not measured this time, see profile_sections."""
    parts = [_INTRODUCTION, *_builds(report.records), *targets_table(report.records)]
    for model in _unique(r.model for r in report.records):
        own = [r for r in report.records if r.model == model]
        for kind in _unique(r.kind for r in own):
            parts += _model_table(model, [r for r in own if r.kind == kind])
    sections = {**(kept or {}), **_profiles(report)}
    models = _unique(r.model for r in report.records)
    titles = [_profile_title(model, core) for model in models for core in PROFILED]
    for title in (t for t in titles if t in sections):
        parts += [title, sections[title]]
    return "\n".join(parts).rstrip("\n") + "\n"


def profile_sections(page: str, cores: Sequence[str]) -> dict[str, str]:
    """Title and text of a page's profiles of some cores."""
    out = {}
    for section in page.split("\n## ")[1:]:
        title, _, text = section.partition("\n")
        if title.startswith("Where ") and title.endswith(tuple(f", {core}" for core in cores)):
            out[f"## {title}"] = text.rstrip("\n") + "\n"
    return out


def targets_table(records: Sequence[Record]) -> list[str]:
    """Every target on every core: the best figure, what is wanted, the best quoted figure."""
    lines = ["## Targets", "", _TARGETS, *_header(["figure", *TARGET_CORES])]
    for target in TARGETS:
        cells = [_standing(standing) for standing in standings(target, records)]
        lines.append(_row([target.title, *cells]))
    return [*lines, "", *_one_build_table(records)]


def _one_build_table(records: Sequence[Record]) -> list[str]:
    """The same figures of each compiler's builds alone."""
    lines = ["### One build for all of them", "", _ONE_BUILD]
    lines += _header(["figure", "build", *TARGET_CORES])
    for target in TARGETS:
        for kind, opt in _unique((r.kind, r.opt) for r in records):
            own = [r for r in records if (r.kind, r.opt) == (kind, opt)]
            cells = [_value(standing) for standing in standings(target, own)]
            lines.append(_row([target.title, f"{kind} {opt}", *cells]))
    return [*lines, ""]


def _value(standing: Standing) -> str:
    value = _number(standing.value)
    return f"**{value}**" if standing.is_missed else value


def _standing(standing: Standing) -> str:
    wanted = f"target {_number(standing.target.most[standing.core])}"
    peer = "" if standing.peer is None else f"; *quoted {_number(standing.peer)}*"
    if standing.value is None:
        return f"not measured; {wanted}{peer}"
    verdict = f"**missed**, {wanted}" if standing.is_missed else wanted
    return f"{_number(standing.value)} {standing.kind}; {verdict}{peer}"


def _builds(records: Sequence[Record]) -> list[str]:
    lines = [f"- {c}, {o}" for c, o in _unique((r.compiler, r.opt) for r in records)]
    return ["Builds:", "", *lines, ""]


def _model_table(model: str, records: Sequence[Record]) -> list[str]:
    """One row a figure, one column a core."""
    cores = [core for core in CORES if any(r.core == core for r in records)]
    first = records[0]
    lines = [f"## {model}, {first.kind} {first.opt}", "", *_header(["figure", "unit", *cores])]
    for figure, unit in _unique((r.figure, r.unit) for r in records):
        values = {r.core: r.value for r in records if r.figure == figure}
        lines.append(_row([figure, unit, *(_number(values.get(core)) for core in cores)]))
        for quote in QUOTES:
            if quote.beside == (model, figure):
                lines.append(_quote_row(quote, unit, cores))
    return [*lines, ""]


def _quote_row(quote: Quote, unit: str, cores: Sequence[str]) -> str:
    note = f"; {quote.note}" if quote.note else ""
    values = (_number(quote.values.get(core)) for core in cores)
    return _row([f"*quoted: {quote.source}{note}*", unit, *values])


def _profile_title(model: str, core: str) -> str:
    return f"## Where {model} spends its instructions, {core}"


def _profiles(report: CostReport) -> dict[str, str]:
    return {
        _profile_title(*at): "\n".join(["", *_profile_table(measured)])
        for at, measured in report.profiles.items()
        if at[1] in PROFILED
    }


def _profile_table(measured: Measured) -> list[str]:
    """The costliest functions of a step, and of an inference, side by side."""
    columns = [_shares(measured.step_profile), _shares(measured.inference_profile)]
    lines = _header(["training step", "share", "inference", "share"])
    for step, inference in islice(zip(*columns, strict=False), PROFILE_ROWS):
        lines.append(_row([*step, *inference]))
    return [*lines, ""]


def _shares(profile: dict[str, int]) -> list[tuple[str, str]]:
    total = sum(profile.values()) or 1
    shares = [(f"{name}", f"{100 * count / total:.1f} %") for name, count in profile.items()]
    return shares + [("", "")] * PROFILE_ROWS


def _header(names: Sequence[str]) -> list[str]:
    return [_row(names), _row(["---"] * len(names))]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if value == int(value) and value >= 100 else f"{value:.3g}"


def _unique(values: Iterable[T]) -> list[T]:
    return list(dict.fromkeys(values))
