# SPDX-License-Identifier: Apache-2.0
"""Values of the accuracy command, each checked where it is read, with what would be right."""

from argparse import ArgumentTypeError
from math import isfinite
from typing import Any

from benchmarks.accuracy.setting import Setting
from codegen.errors import CodegenError
from codegen.quantize.options import MAX_CLASSES
from server.errors import HadaptError
from server.learning.quantizing import parse_options

MAX_WIDTH = 65535


def count(text: str) -> int:
    """An integer of at least 1."""
    if not (text.isascii() and text.isdigit() and 1 <= int(text) < 2**31):
        raise ArgumentTypeError(f"{text!r} is no integer of at least 1")
    return int(text)


def widths(text: str) -> tuple[int, ...]:
    """Widths of the hidden layers, as 128,128."""
    parts = text.split(",")
    if not all(p.isascii() and p.isdigit() and 1 <= int(p) <= MAX_WIDTH for p in parts):
        raise ArgumentTypeError(
            f"{text!r} is no list of widths from 1 to {MAX_WIDTH} with commas between, as 128,128"
        )
    return tuple(map(int, parts))


def positive(text: str) -> float:
    """A finite number above 0."""
    return _number(text, "a number above 0", lambda value: value > 0)


def share(text: str) -> float:
    """A number from 0 to 1."""
    return _number(text, "a number from 0 to 1", lambda value: 0 <= value <= 1)


def weight(text: str) -> float:
    """A number from 0, less than 1."""
    return _number(text, "a number from 0, less than 1", lambda value: 0 <= value < 1)


def option(text: str) -> tuple[str, Any]:
    """NAME=VALUE of the quantizer: an integer, true, false, or text."""
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise ArgumentTypeError(f"{text!r} is not of the form NAME=VALUE, as acc_bits=12")
    if value.lstrip("-").isdigit() and value.isascii():
        pair: tuple[str, Any] = (name, int(value))
    else:
        pair = (name, {"true": True, "false": False}.get(value, value))
    try:
        parse_options(dict([pair]))
    except HadaptError as error:
        raise ArgumentTypeError(str(error)) from error
    return pair


def _number(text: str, wanted: str, good: Any) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not (isfinite(value) and good(value)):
        raise ArgumentTypeError(f"{text!r} is not {wanted}")
    return value


def misfit(setting: Setting, classes: int) -> str | None:
    """Why a set of so many classes cannot be run with a setting; None if it can."""
    if not 2 <= classes <= MAX_CLASSES:
        return f"{setting.dataset} has {classes} classes; expected 2 to {MAX_CLASSES}"
    if setting.base_classes > classes:
        return f"--base-classes {setting.base_classes}: {setting.dataset} has {classes} classes"
    if setting.exemplar_slots < classes:
        return (
            f"--slots {setting.exemplar_slots}: expected at least {classes}, one a class of "
            f"{setting.dataset}"
        )
    return None if not setting.arithmetic.startswith("hdqt") else _refused(setting, classes)


def _refused(setting: Setting, classes: int) -> str | None:
    try:
        chosen = parse_options(setting.options(classes))
        chosen.check_slots(classes)
        chosen.classes_for(setting.base_classes)
        chosen.layers_to_train(len(setting.hidden) + 1)
    except (HadaptError, CodegenError) as error:
        return f"{setting.arithmetic}: {error}"
    return None
