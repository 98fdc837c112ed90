# SPDX-License-Identifier: Apache-2.0
"""The MFCC of the C alone: its two sources and a model's tables in a program of the host."""

import subprocess
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from codegen.emit.mfcc import mfcc_lines
from device.harness.boards import BOARDS
from device.harness.toolchain import find_toolchain
from device.twin.mfcc import Mfcc

RUNTIME = Path(__file__).parents[2] / "device" / "runtime"
SOURCES = ("signal/had_mfcc.c", "signal/had_rfft.c")
MAIN = """
#include <stdio.h>
static uint8_t raw[2 * 65535], out[2 * 65535];
static int32_t scratch[HAD_MFCC_SCRATCH_BYTES(1024U, 128U) / 4U];
int main(void) {
    while (fread(raw, 2U, had_signal.window, stdin) == had_signal.window) {
        had_features_mfcc(out, raw, &had_signal, scratch);
        uint32_t frames = 1U + (uint32_t)(had_signal.window - had_signal.frame) / had_signal.step;
        fwrite(out, 2U * had_signal.coefficients, frames, stdout);
    }
    return 0;
}
"""


def build_program(
    signal: Mfcc, folder: Path, change: tuple[str, str, str] | None = None, sanitize: bool = True
) -> Path:
    """Compile it.

    Args:
        change: a source, text in it, and what takes its place.
    """
    folder.mkdir(parents=True)
    for name in SOURCES:
        text = (RUNTIME / "src" / name).read_text()
        if change is not None and change[0] == name:
            assert change[1] in text, f"{name} has no {change[1]!r}"
            text = text.replace(change[1], change[2], 1)
        (folder / Path(name).name).write_text(text)
    tables = "\n".join(['#include "hadapt/features.h"', *mfcc_lines(signal), MAIN])
    (folder / "main.c").write_text(tables)
    tool = find_toolchain(BOARDS["host"])
    flags = ["-std=c11", "-O0"]
    if sanitize:
        flags = ["-std=c11", "-O1", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror"]
        flags += ["-fsanitize=undefined", "-fno-sanitize-recover=all"]
    includes = [f"-I{RUNTIME / 'include'}", f"-I{RUNTIME / 'src' / 'signal'}"]
    sources = [str(folder / Path(name).name) for name in (*SOURCES, "main.c")]
    elf = folder / "mfcc"
    command = [*tool.command, *flags, *includes, *sources, "-o", str(elf)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    return elf


def run_program(elf: Path, signal: Mfcc, raw: NDArray[np.int16]) -> NDArray[np.int16] | None:
    """Features (N, outputs) of raw signals (N, window); None if the program failed."""
    done = subprocess.run(
        [str(elf)], input=raw.astype("<i2").tobytes(), capture_output=True, timeout=60
    )
    if done.returncode != 0:
        return None
    return np.frombuffer(done.stdout, "<i2").reshape(-1, signal.outputs)
