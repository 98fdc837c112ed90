# SPDX-License-Identifier: Apache-2.0
"""Labels that are whole numbers: positions of classes, or their names."""

from collections.abc import Sequence


def names_are_numbers(names: Sequence[str]) -> bool:
    """Whether classes are named by whole numbers other than their positions.

    scikit-learn names the classes of labels 1, 2, 3 so; a label 1 then means the first class.

    Example:
        >>> names_are_numbers(("1", "2")), names_are_numbers(("0", "1")), names_are_numbers("ab")
        (True, False, False)
    """
    whole = all(name.removeprefix("-").isdecimal() and name.isascii() for name in names)
    return whole and any(name != str(slot) for slot, name in enumerate(names))
