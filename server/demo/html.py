# SPDX-License-Identifier: Apache-2.0
"""A few functions that build well-formed markup: everything is escaped and every tag closed."""

from html import escape


class Markup(str):
    """Text that is markup already."""

    __slots__ = ()


def tag(element: str, /, *content: object, **attributes: object) -> Markup:
    """An element; text is escaped, Markup is not, None is left out.

    Attribute names: a trailing underscore is dropped, others become hyphens.

    Example:
        >>> tag("p", "a < b", class_="note", aria_label="x")
        '<p class="note" aria-label="x">a &lt; b</p>'
    """
    inner = join(*content)
    given = "".join(
        f' {_attribute(key)}="{escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Markup(f"<{element}{given}>{inner}</{element}>")


def void(element: str, /, **attributes: object) -> Markup:
    """An element without content, such as meta or an SVG line, closed as XML has it."""
    return Markup(tag(element, **attributes).replace(f"></{element}>", " />"))


def join(*content: object) -> Markup:
    """Parts one after the other."""
    return Markup("".join(_text(part) for part in content))


def _attribute(key: str) -> str:
    # SVG's own attributes in camel case arrive as they are written.
    return key.rstrip("_").replace("_", "-")


def _text(part: object) -> str:
    if part is None:
        return ""
    if isinstance(part, Markup):
        return str(part)
    if isinstance(part, list | tuple):
        return join(*part)
    return escape(str(part))


def table(
    caption: str,
    columns: list[str],
    rows: list[list[object]],
    numbers: frozenset[int] | None = None,
) -> Markup:
    """A table with header cells; the first column heads its row.

    Args:
        numbers: columns set to the right; None: all but the first.
    """
    right = numbers if numbers is not None else frozenset(range(1, len(columns)))
    head = [
        tag("th", name, scope="col", class_="number" if i in right else None)
        for i, name in enumerate(columns)
    ]
    body = [_row(row, right) for row in rows]
    return tag(
        "div",
        tag(
            "table",
            tag("caption", caption),
            tag("thead", tag("tr", *head)),
            tag("tbody", *body),
        ),
        class_="scroll",
        tabindex="0",
        role="region",
        aria_label=caption,
    )


def _row(row: list[object], right: frozenset[int]) -> Markup:
    cells = [tag("th", row[0], scope="row")]
    for i, value in enumerate(row[1:], 1):
        cells.append(tag("td", value, class_="number" if i in right else None))
    return tag("tr", *cells)
