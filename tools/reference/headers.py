# SPDX-License-Identifier: Apache-2.0
"""Public C names and their comments, read from the headers as clang-format lays them out.

A comment documents the declarations that follow it up to a blank line; a comment behind a
declaration documents that one, and is the nearer. The comment of an enumeration serves its
enumerators. A name that has a variant for each configuration needs one comment.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

COMMENT = re.compile(r"/\*(.*?)\*/", re.DOTALL)
GUARD = re.compile(r"HADAPT_\w+_H$")
NAME = r"(had_\w+|HAD_\w+)"
MACRO = re.compile(rf"#define {NAME}")
BODY = re.compile(r"\{.*\}", re.DOTALL)


@dataclass(frozen=True)
class CName:
    """A public name; `text` is empty where no comment speaks of it."""

    name: str
    kind: str
    declaration: str
    text: str


@dataclass(frozen=True)
class Header:
    """A header with what its first comment says."""

    name: str
    text: str
    names: tuple[CName, ...]


def plain(comment: str) -> str:
    """A comment's words without stars and line breaks; empty for the annotations of a prover."""
    if comment.lstrip().startswith("@"):
        return ""
    lines = [line.strip().removeprefix("*").strip() for line in comment.strip().splitlines()]
    return " ".join(line for line in lines if line)


def read_header(path: Path) -> Header:
    """All public names of a header."""
    text = path.read_text()
    first, rest = re.split(r"#ifndef HADAPT_.*\n#define HADAPT_.*\n", text, maxsplit=1)
    about = " ".join(filter(None, (plain(c) for c in COMMENT.findall(first)[1:])))
    found: dict[str, CName] = {}
    for name in names_of(rest):
        if name.name not in found or not found[name.name].text:
            found[name.name] = name
    return Header(path.name, about, tuple(found.values()))


def names_of(text: str) -> Iterator[CName]:
    """Names in order of declaration, each time that they are declared."""
    doc = ""
    for piece in pieces(text):
        if piece == "":
            doc = ""
        elif piece.startswith("/*"):
            doc = plain(piece[2:-2]) or doc
        else:
            yield from declared(piece, doc)


def pieces(text: str) -> Iterator[str]:
    """Comments, directives and declarations, one after the other; "" for a blank line."""
    held = ""
    for line in text.splitlines():
        if not held and not line.strip():
            yield ""
            continue
        held = f"{held}\n{line}" if held else line.strip()
        if complete(held):
            yield held.strip()
            held = ""


def complete(piece: str) -> bool:
    """Whether a piece has come to its end."""
    if piece.startswith("/*"):
        return "*/" in piece
    if piece.startswith("#"):
        return not piece.endswith("\\")
    if piece in ('extern "C" {', "}") or piece.startswith("__attribute__"):
        return True
    code = COMMENT.sub("", piece)
    if code.count("/*") or code.count("{") != code.count("}"):
        return False
    return code.rstrip().endswith((";", "}"))


def declared(piece: str, doc: str) -> Iterator[CName]:
    """Names that a directive or declaration declares."""
    behind = " ".join(plain(c) for c in COMMENT.findall(piece))
    code = COMMENT.sub("", piece)
    macro = MACRO.match(code)
    if macro:
        if not GUARD.match(macro[1]):
            yield CName(macro[1], "macro", tidy(code), behind or doc)
    elif code.startswith(("typedef enum", "enum")):
        yield from enumeration(piece, code, doc)
    elif code.startswith("typedef"):
        name = re.findall(rf"{NAME}", BODY.sub("", code))[-1]
        shown = piece if "{" in code else tidy(code)
        yield CName(name, "type", shown, doc or ("" if "{" in code else behind))
    elif code.startswith("extern const") and (table := re.search(rf"{NAME}\[?", code)):
        name = re.findall(rf"{NAME}(?=[\[;])", code)[-1] if "[" in code or ";" in code else table[1]
        yield CName(name, "table", tidy(code), behind or doc)
    elif not code.startswith(("#", "_Static_assert", "__attribute__", "extern", "}")):
        head = BODY.sub(";", code) if "{" in code else code
        if "{" in code:
            behind = ""
        if function := re.search(rf"{NAME}\(", head):
            yield CName(function[1], "function", tidy(head).rstrip(";") + ";", behind or doc)


def enumeration(piece: str, code: str, doc: str) -> Iterator[CName]:
    """An enumeration and its enumerators."""
    doc = doc or " ".join(plain(c) for c in COMMENT.findall(piece.rpartition("}")[2]))
    tag = re.search(rf"enum {NAME}", code)
    if tag and "{" in code:
        yield CName(tag[1], "enumeration", piece, doc)
    body = piece.partition("{")[2].rpartition("}")[0]
    lines = re.findall(rf"{NAME}(?: = [^,/]+)?,?[ ]*(?:/\*(.*?)\*/)?", body, re.DOTALL)
    for name, behind in lines:
        yield CName(name, "enumerator", name, plain(behind) or doc)


def tidy(code: str) -> str:
    """A declaration on as few lines as it was, without trailing blanks."""
    return "\n".join(line.rstrip(" \\") for line in code.strip().splitlines()).strip()


def undocumented(header: Header) -> list[str]:
    """Names without a comment, and the header itself if nothing says what it is."""
    missing = [f"{header.name}: {one.name}" for one in header.names if not one.text]
    return missing if header.text else [f"{header.name}: what it is", *missing]
