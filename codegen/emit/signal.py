# SPDX-License-Identifier: Apache-2.0
"""Constants of the features of a signal (SPEC.md 15), where a model has them."""

from typing import Any

from codegen.emit.literals import table
from device.twin.model import IntModel


def signal_header(model: IntModel) -> list[str]:
    """Declarations for hadapt_model.h."""
    if model.signal is None:
        return []
    return ["extern const had_window_stats had_signal;", "#define SIGNAL had_signal"]


def signal_tables(model: IntModel) -> list[str]:
    """Definitions for hadapt_tables.c."""
    signal = model.signal
    if signal is None:
        return []
    return [
        *table(
            f"static const uint8_t signal_extra_bits[{signal.axes}U]",
            signal.extra_bits,
            "signal: extra fractional bits an axis",
        ),
        "const had_window_stats had_signal = {",
        "    .extra_bits = signal_extra_bits,",
        f"    .window = {signal.window}U,",
        f"    .axes = {signal.axes}U,",
        f"    .ddof = {signal.ddof}U,",
        "};",
        "",
    ]


def signal_manifest(model: IntModel) -> dict[str, Any]:
    """What manifest.json says of it."""
    signal = model.signal
    if signal is None:
        return {}
    order = "value t A + a is sample t of axis a (SPEC.md 15.1)"
    size = {"kind": signal.kind, "window": signal.window, "axes": signal.axes, "ddof": signal.ddof}
    return {"signal": {**size, "order": order}}
