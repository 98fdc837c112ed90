# SPDX-License-Identifier: Apache-2.0
"""The C interface as Markdown, from the comments of the public headers."""

from itertools import groupby
from pathlib import Path

from tools.reference.headers import CName, Header, read_header

INCLUDE = Path(__file__).parents[2] / "device" / "runtime" / "include" / "hadapt"
# What a program calls and a port implements; the others are shared between the kernels.
FOR_PROGRAMS = ("learner.h", "node.h", "packet.h", "state.h", "wire.h", "status.h", "reason.h")
FOR_PORTS = ("port.h", "flash.h", "trust.h")
TITLES = {
    "For programs": FOR_PROGRAMS,
    "For ports": FOR_PORTS,
}


def headers() -> dict[str, Header]:
    """Every public header by file name."""
    return {path.name: read_header(path) for path in sorted(INCLUDE.glob("*.h"))}


def page(found: dict[str, Header]) -> str:
    """All headers, those that programs include first."""
    used = {name for names in TITLES.values() for name in names}
    rest = tuple(name for name in found if name not in used)
    lines: list[str] = []
    for title, names in {**TITLES, "Inside the runtime": rest}.items():
        lines += [f"## {title}", ""]
        for name in names:
            lines += _header(found[name])
    return "\n".join(lines).rstrip() + "\n"


def _header(header: Header) -> list[str]:
    lines = [f"### hadapt/{header.name}", "", header.text, ""]
    shown = (one for one in header.names if one.kind != "enumerator")
    for text, names in groupby(shown, key=lambda one: one.text):
        lines += _names(text, list(names))
    return lines


def _names(text: str, names: list[CName]) -> list[str]:
    """Names that one comment speaks of, with their declarations."""
    bold = ", ".join(f"**`{one.name}`**" for one in names)
    declared = [one.declaration for one in names]
    return [f"{bold}: {text}", "", "```text", *declared, "```", ""]
