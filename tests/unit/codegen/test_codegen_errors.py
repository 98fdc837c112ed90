# SPDX-License-Identifier: Apache-2.0
"""Errors: the tree of the docstring is the real one, and each carries its fields as JSON."""

import inspect
import json
import re

from codegen import errors
from codegen.errors import (
    BadWeightError,
    CodegenError,
    ModelTooLargeError,
    UnsupportedOperatorError,
)


def classes() -> dict[str, type[CodegenError]]:
    """All errors of the module by name."""
    members = inspect.getmembers(errors, inspect.isclass)
    return {name: kind for name, kind in members if issubclass(kind, CodegenError)}


def test_tree_in_the_docstring_is_the_real_one() -> None:
    parents: dict[str, str] = {}
    open_names: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"^([ │├└─]*)(\w+Error)\b", line)
        if not found:
            continue
        depth, name = len(found[1]), found[2]
        while open_names and open_names[-1][0] >= depth:
            open_names.pop()
        parents[name] = open_names[-1][1] if open_names else "Exception"
        open_names.append((depth, name))
    assert parents == {name: kind.__bases__[0].__name__ for name, kind in classes().items()}


def test_codes_are_distinct() -> None:
    codes = [kind.code for kind in classes().values()]
    assert len(set(codes)) == len(codes)


def test_message_says_where_what_and_what_would_be_right() -> None:
    error = CodegenError("is odd", where="node a", expected="even ones")
    assert str(error) == "node a: is odd; expected even ones"
    assert error.to_dict() == {
        "code": "codegen_error",
        "what": "is odd",
        "where": "node a",
        "expected": "even ones",
        "details": {},
    }


def test_fields_are_json() -> None:
    listed = [
        BadWeightError("w", (1, 2), float("nan"), 1e18),
        ModelTooLargeError("nodes", actual=9, limit=8, where="graph"),
        UnsupportedOperatorError("n", "Conv", ["Add", "Gemm"]),
    ]
    for error in listed:
        assert json.loads(json.dumps(error.to_dict(), allow_nan=False)) == error.to_dict()
