# SPDX-License-Identifier: Apache-2.0
"""Which nodes the outputs depend on, and whether they can be run in the order given."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from codegen.errors import MalformedModelError
from codegen.importer.source import shown


@dataclass(frozen=True)
class Wiring:
    """The names one node reads and writes, without the empty ones."""

    label: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def live_nodes(
    nodes: Sequence[Wiring], sources: frozenset[str], outputs: Sequence[str]
) -> tuple[list[int], frozenset[str]]:
    """The nodes that the outputs depend on.

    Args:
        nodes: all nodes, in the file's order.
        sources: names of initialisers and graph inputs.
        outputs: names of the graph's outputs.
    Returns: positions of live nodes, ascending; the sources they or the outputs read.
    Raises: MalformedModelError on a name defined twice or never, a cycle, or nodes out of order.
    """
    producer = _producers(nodes, sources)
    live: set[int] = set()
    used: set[str] = set()
    pending = [(name, "graph outputs") for name in outputs]
    while pending:
        name, reader = pending.pop()
        if name in sources:
            used.add(name)
        elif name not in producer:
            raise MalformedModelError(
                f"reads tensor {shown(name)}, which nothing defines",
                where=reader,
                expected="every tensor defined",
            )
        elif producer[name] not in live:
            live.add(producer[name])
            node = nodes[producer[name]]
            pending += [(read, node.label) for read in node.inputs]
    order = sorted(live)
    _check_order(nodes, order, producer)
    return order, frozenset(used)


def _producers(nodes: Sequence[Wiring], sources: frozenset[str]) -> dict[str, int]:
    producer: dict[str, int] = {}
    for i, node in enumerate(nodes):
        for name in node.outputs:
            if name in producer or name in sources:
                raise MalformedModelError(
                    f"defines tensor {shown(name)} again",
                    where=node.label,
                    expected="each tensor defined once",
                )
            producer[name] = i
    return producer


def _check_order(nodes: Sequence[Wiring], order: list[int], producer: Mapping[str, int]) -> None:
    needs = {i: {producer[name] for name in nodes[i].inputs if name in producer} for i in order}
    if all(max(needs[i], default=-1) < i for i in order):
        return
    stuck = _in_cycle(order, needs)
    where = nodes[stuck if stuck is not None else order[0]].label
    what = "is part of a cycle" if stuck is not None else "nodes are out of order"
    raise MalformedModelError(what, where=where, expected="an acyclic graph in topological order")


def _in_cycle(order: list[int], needs: Mapping[int, set[int]]) -> int | None:
    """A node that can never run, or None if some order works."""
    readers: dict[int, list[int]] = {i: [] for i in order}
    for i in order:
        for needed in needs[i]:
            readers[needed].append(i)
    missing = {i: len(needs[i]) for i in order}
    ready = [i for i in order if missing[i] == 0]
    while ready:
        done = ready.pop()
        missing.pop(done)
        for i in readers[done]:
            missing[i] -= 1
            if missing[i] == 0:
                ready.append(i)
    return min(missing, default=None)
