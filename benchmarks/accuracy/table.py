# SPDX-License-Identifier: Apache-2.0
"""The results page: targets first, then a table a set, older settings at the end."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.accuracy.groups import (
    BALANCED,
    FORGETTING,
    LAST,
    PLAIN,
    Arms,
    Group,
    Record,
    Runs,
    difference,
    group_of,
    grouped,
)
from benchmarks.accuracy.setting import CORE_METHODS, CORE_SETS, Setting
from server.learning.metrics import summary

_HEAD = """\
# Class-incremental accuracy

Made by `make bench-accuracy` (core table) and `python -m benchmarks.accuracy`; accuracy.json has
every setting, matrix and class order. Percent; mean and standard deviation over seeds, which also
draw the class order. Differences are percentage points, paired on the same seeds; in brackets the
bound of the one-sided 95 % interval. The head is the method's own: nearest mean for ncm and icarl,
linear for the others; the other head's figures are in accuracy.json. What the arithmetics are, and
how rates and options were chosen: [README](../README.md).
""".splitlines()
CORE = group_of(Setting("", "replay", "float32", normaliser_floor=0.5).record())
TUNED = "float32-tuned"
_REFERENCES = ("float32", TUNED)
_INTEGER_TARGETS = {"hdqt-int16": 0.2, "hdqt-int8": 0.5}
_TUNED_TARGET = 1.0
_FORGETTING_TARGET = 0.5
_ALIKE = 0.1  # points between plain and balanced accuracy that are not worth columns


@dataclass(frozen=True)
class Target:
    """A table of the summary.

    Attributes:
        metric: of a set. reference: arithmetic that integers are compared with.
        limit: of an arithmetic: how many points it may be worse.
        worse: 1 if a larger figure is worse, else -1.
    """

    title: str
    metric: Callable[[str], str]
    reference: str
    limit: Callable[[str], float]
    worse: int = -1


def metric_of(dataset: str) -> str:
    """By which a set is judged: HAPT has classes of 23 to 1423 samples."""
    return BALANCED if dataset.startswith("hapt") else PLAIN


TARGETS = (
    Target(
        "Average incremental accuracy, difference to float32 of the same schedule. Target: at most "
        "0.2 below with int16, 0.5 with int8 masters",
        metric_of,
        "float32",
        lambda arm: _INTEGER_TARGETS[arm.split()[0]],
    ),
    Target(
        "The same to the tuned float loop of five times the epochs. Target: within a point",
        metric_of,
        TUNED,
        lambda _: _TUNED_TARGET,
    ),
    Target(
        "Forgetting, difference to float32; less is better. Target: at most 0.5 more",
        lambda _: FORGETTING,
        "float32",
        lambda _: _FORGETTING_TARGET,
        worse=1,
    ),
)


def write_table(records: Sequence[Record], path: Path) -> None:
    """Write the page of all records."""
    groups = grouped(records)
    lines = [*_HEAD, *_summary(groups), *_sets(groups, older=False)]
    past = list(_sets(groups, older=True))
    if past:
        lines += ["", "# Older settings", "", "Wider accumulators, or other normaliser floors."]
        lines += past
    path.write_text("\n".join(lines) + "\n")


def _is_integer(arm: str) -> bool:
    return arm.split()[0] in _INTEGER_TARGETS


def is_older(group: Group, arm: str) -> bool:
    """Whether a row belongs at the end of the page."""
    return group.normaliser_floor != CORE.normaliser_floor or "acc_bits" in arm


def _timeless(group: Group) -> Group:
    """A group without the length of its sessions."""
    return replace(group, epochs=0)


def _references(groups: dict[Group, Any], group: Group) -> dict[str, Runs]:
    """Runs that a group is compared with; the tuned loop's schedule is its own, so that its runs
    are the same whatever the others' is.
    """
    arms: Arms = groups[group]
    same = [g for g in groups if _timeless(g) == _timeless(group)]
    tuned = (groups[g].get(TUNED) for g in [group, *sorted(same)])
    return {"float32": arms.get("float32", {}), TUNED: next(filter(None, tuned), {})}


def _summary(groups: dict[Group, Any]) -> Iterator[str]:
    core = {
        g: arms for g, arms in groups.items() if _timeless(g).setting == _timeless(CORE).setting
    }
    if not any(g.dataset in CORE_SETS for g in core):
        return
    yield from ("", "## Targets", "")
    yield f"Network {CORE.network}, {CORE.base_classes} + {CORE.step_classes} classes a task,"
    yield f"{CORE.exemplar_slots} exemplars, {CORE.epochs} epochs where no other number is given."
    yield "HAPT by balanced accuracy."
    yield "*met*: the mean is within the target; **met**: its bound too. Seeds where not ten."
    for target in TARGETS:
        rows = [
            row
            for method in CORE_METHODS
            for epochs in sorted({g.epochs for g in core if g.method == method})
            for row in _target_rows(core, method, epochs, target)
        ]
        if rows:
            yield from ("", f"**{target.title}:**", "")
            yield from _table(("method", "arithmetic", *CORE_SETS), rows)


def _target_rows(
    core: dict[Group, Any], method: str, epochs: int, target: Target
) -> Iterator[tuple[Any, ...]]:
    chosen = [g for g in core if (g.method, g.epochs) == (method, epochs)]
    of_set = {g.dataset: {**core[g], **_references(core, g)} for g in chosen}
    arms = {a for g in chosen for a in core[g] if _is_integer(a) and "acc_bits" not in a}
    label = method if epochs == CORE.epochs else f"{method}, {epochs} epochs"
    for arm in sorted(arms, key=lambda a: (len(a.split()) > 1, a.split(maxsplit=1)[1:], a)):
        cells = [_target_cell(of_set.get(name, {}), name, arm, target) for name in CORE_SETS]
        if any(cells):
            yield (label, arm, *cells)


def _target_cell(arms: Arms, dataset: str, arm: str, target: Target) -> str:
    runs, reference = arms.get(arm, {}), arms.get(target.reference, {})
    gap = difference(runs, reference, target.metric(dataset))
    if gap is None or gap.lower_95 is None or gap.upper_95 is None:
        return ""
    bound, sign = (gap.upper_95, "≤") if target.worse > 0 else (gap.lower_95, "≥")
    excess = target.worse * gap.mean - target.limit(arm)
    held = "**met**" if target.worse * bound <= target.limit(arm) else "*met*"
    verdict = held if excess <= 0 else f"missed by {excess:.2f}"
    seeds = "" if gap.count == 10 else f" ({gap.count} seeds)"
    return f"{gap.mean:+.2f} ({sign} {bound:.2f}) {verdict}{seeds}"


def _sets(groups: dict[Group, Any], older: bool) -> Iterator[str]:
    """Tables of all sets, those of the core first."""
    names = {group.dataset for group in groups}
    for name in sorted(names, key=lambda n: (n not in CORE_SETS, n)):
        own = {g: arms for g, arms in groups.items() if g.dataset == name}
        rows = {g: [a for a in arms if is_older(g, a) == older] for g, arms in own.items()}
        if any(rows.values()):
            yield from ("", f"## {name}")
            settings = {g.setting for g, arms in rows.items() if arms}
            for setting in sorted(settings, key=lambda s: (s != CORE.setting, s)):
                chosen = {g: rows[g] for g in sorted(own) if g.setting == setting}
                yield from _setting_table(own, chosen)


def _setting_table(groups: dict[Group, Any], chosen: dict[Group, list[str]]) -> Iterator[str]:
    one = next(iter(chosen))
    yield ""
    yield (
        f"**{one.network}, {one.base_classes} + {one.step_classes} classes a task, "
        f"{one.exemplar_slots} exemplars, {one.epochs} epochs of batch {one.batch}, "
        f"rate {one.learning_rate:g}, normaliser floor {one.normaliser_floor:g}:**"
    )
    yield ""
    runs = [r for g, arms in chosen.items() for a in arms for r in groups[g][a].values()]
    uneven = max(abs(r[PLAIN] - r[BALANCED]) for r in runs) > _ALIKE
    kinds = ("", ", balanced") if uneven else ("",)
    metrics = (PLAIN, BALANCED) if uneven else (PLAIN,)
    columns = (
        *("method", "arithmetic", "seeds", *(f"average incremental{kind}" for kind in kinds)),
        *("last", "forgetting", *(f"to {name}{kind}" for name in _REFERENCES for kind in kinds)),
    )
    rows = [
        _row(g.method, arm, groups[g], _references(groups, g).values(), metrics)
        for g, arms in chosen.items()
        for arm in sorted(arms)
    ]
    yield from _table(columns, rows)


def _row(
    method: str, arm: str, arms: Arms, others: Iterable[Runs], metrics: Sequence[str]
) -> tuple[Any, ...]:
    runs = arms[arm]
    values = [_mean(runs, name) for name in (*metrics, LAST, FORGETTING)]
    return (method, arm, len(runs), *values, *(_gap(runs, o, m) for o in others for m in metrics))


def _table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    """Markdown; columns without a value are left out."""
    full = [k for k in range(len(columns)) if any(row[k] != "" for row in rows)]
    lines = [[columns[k] for k in full], ["---"] * len(full)]
    lines += [[str(row[k]) for k in full] for row in rows]
    return ["| " + " | ".join(cells) + " |" for cells in lines]


def _mean(runs: Runs, name: str) -> str:
    found = summary([run[name] for run in runs.values()])
    return f"{found.mean:.2f} ± {found.std:.2f}" if len(runs) > 1 else f"{found.mean:.2f}"


def _gap(runs: Runs, reference: Runs, name: str) -> str:
    gap = difference(runs, reference, name)
    if gap is None:
        return ""
    bound = "" if gap.lower_95 is None else f" (≥ {gap.lower_95:.2f})"
    return f"{gap.mean:+.2f}{bound}"
