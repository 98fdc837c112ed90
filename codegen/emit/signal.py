# SPDX-License-Identifier: Apache-2.0
"""Constants of the features of a signal (SPEC.md 15), where a model has them."""

from typing import Any

from codegen.emit.literals import table
from codegen.emit.mfcc import mfcc_lines, mfcc_manifest, mfcc_tables
from device.twin.inference import AnyModel
from device.twin.mfcc import Mfcc
from device.twin.signal import Signal


def signal_header(model: AnyModel) -> list[str]:
    """Declarations for hadapt_model.h."""
    if model.signal is None:
        return []
    kind = "had_mfcc" if isinstance(model.signal, Mfcc) else "had_window_stats"
    return [f"extern const {kind} had_signal;", "#define SIGNAL had_signal"]


def signal_tables(model: AnyModel) -> list[str]:
    """Definitions for hadapt_tables.c."""
    signal = model.signal
    if signal is None:
        return []
    if isinstance(signal, Mfcc):
        return mfcc_lines(signal)
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


def signal_bytes(signal: Signal) -> int:
    """Flash of its tables."""
    if isinstance(signal, Mfcc):
        return mfcc_tables(signal).bytes
    return int(signal.extra_bits.nbytes)


def signal_manifest(model: AnyModel) -> dict[str, Any]:
    """What manifest.json says of it."""
    signal = model.signal
    if signal is None:
        return {}
    if isinstance(signal, Mfcc):
        return {"signal": mfcc_manifest(signal)}
    order = "value t A + a is sample t of axis a (SPEC.md 15.1)"
    size = {"kind": signal.kind, "window": signal.window, "axes": signal.axes, "ddof": signal.ddof}
    return {"signal": {**size, "order": order}}
