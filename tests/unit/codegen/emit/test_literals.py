# SPDX-License-Identifier: Apache-2.0
"""C literals, tables and comments."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from codegen.emit.literals import LINE_CHARS, columns, comment_text, define, integer, table


@given(st.text())
def test_comment_text_of_any_name_cannot_end_the_comment(name: str) -> None:
    text = comment_text(name)
    assert "*/" not in text and "/*" not in text and "\n" not in text and "\\" not in text
    assert text.isascii()


def test_integer_of_the_smallest_value_is_a_macro() -> None:
    assert integer(-(2**31)) == "INT32_MIN"
    assert integer(-7) == "-7"


@given(st.lists(st.integers(-(2**31), 2**31 - 1), min_size=1, max_size=80))
def test_columns_of_any_values_keep_them_in_order_and_short(values: list[int]) -> None:
    lines = columns([str(v) for v in values])
    assert [int(v) for v in "".join(lines).split(",") if v.strip()] == values
    assert all(len(line) <= LINE_CHARS for line in lines)


def test_table_names_its_source_and_ends_with_a_blank_line() -> None:
    lines = table("const int8_t w[2U]", np.array([1, -7], np.int8), "layer 0: */ weights")
    assert lines == [
        "/* layer 0: * / weights */",
        "const int8_t w[2U] = {",
        "     1, -7,",
        "};",
        "",
    ]


def test_define_of_an_expression_is_parenthesised() -> None:
    assert define("A", "1 + 2") == "#define A (1 + 2)"
    assert define("A", "-1", "why") == "#define A (-1) /* why */"
    assert define("A", "5U") == "#define A 5U"
