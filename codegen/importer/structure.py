# SPDX-License-Identifier: Apache-2.0
"""Which nodes the outputs depend on, and whether they can be run in the order given."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush

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
    Returns: positions of live nodes in an order in which each reads only what came before (the
        file's, if it is one: some tools append their nodes at the end); the sources they or the
        outputs read.
    Raises: MalformedModelError on a name defined twice or never, or a cycle.
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
    return _in_order(nodes, sorted(live), producer), frozenset(used)


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


def _in_order(nodes: Sequence[Wiring], live: list[int], producer: Mapping[str, int]) -> list[int]:
    """The live nodes sorted, the earliest in the file first where there is a choice."""
    needs = {i: {producer[name] for name in nodes[i].inputs if name in producer} for i in live}
    readers: dict[int, list[int]] = {i: [] for i in live}
    for i in live:
        for needed in needs[i]:
            readers[needed].append(i)
    missing = {i: len(needs[i]) for i in live}
    ready = [i for i in live if missing[i] == 0]
    order = []
    while ready:
        order.append(heappop(ready))
        for i in readers[order[-1]]:
            missing[i] -= 1
            if missing[i] == 0:
                heappush(ready, i)
    if len(order) < len(live):
        raise MalformedModelError(
            "is part of a cycle",
            where=nodes[min(set(live) - set(order))].label,
            expected="an acyclic graph",
        )
    return order
