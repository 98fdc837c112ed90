# SPDX-License-Identifier: Apache-2.0
"""Division made of multiplications, for cores that have none: equal to the host's own."""

import subprocess
from pathlib import Path

import pytest

from device.harness.boards import BOARDS
from device.harness.toolchain import find_toolchain

RUNTIME = Path(__file__).parents[2] / "device" / "runtime"
# Every divisor; dividends of the quantisers, of reciprocals and of softmax, and drawn ones.
PROGRAM = """
#include "hadapt/scale.h"
static const uint32_t fixed[] = {
    7U << 26, 15U << 26, 127U << 23, 1U << 29, 1U << 31, UINT32_MAX, 0U, 1U, 65535U};
int main(void) {
    uint32_t drawn = 1U;
    for (uint32_t d = 1U; d < 65536U; d++) {
        for (uint32_t i = 0U; i < 50U; i++) {
            drawn = drawn * 1664525U + 1013904223U;
            uint32_t n = i < sizeof fixed / sizeof *fixed ? fixed[i] : drawn;
            if (had_divide(n, d) != n / d) {
                return 1;
            }
        }
    }
    return 0;
}
"""


def _run(folder: Path, text: str) -> int:
    (folder / "hadapt_config.h").touch()
    (folder / "main.c").write_text(PROGRAM)
    (folder / "divide.c").write_text(text)
    sources = [str(folder / "main.c"), str(folder / "divide.c")]
    sources.append(str(RUNTIME / "src" / "arithmetic/had_scale.c"))
    command = [*find_toolchain(BOARDS["host"]).command, "-O2", "-DHAD_DIVIDES=0"]
    command += [f"-I{folder}", f"-I{RUNTIME / 'include'}", *sources, "-o", str(folder / "divide")]
    subprocess.run(command, check=True, timeout=100)
    return subprocess.run([str(folder / "divide")], timeout=100).returncode


def test_divide_of_every_divisor_equals_the_operator(tmp_path: Path) -> None:
    assert _run(tmp_path, (RUNTIME / "src" / "arithmetic/had_divide.c").read_text()) == 0


@pytest.mark.parametrize(
    ("old", "new"), [("quotient += digit;", "quotient += 0U;"), ("rest >= d;", "rest > d;")]
)
def test_divide_with_planted_error_differs(tmp_path: Path, old: str, new: str) -> None:
    text = (RUNTIME / "src" / "arithmetic/had_divide.c").read_text()
    assert old in text
    assert _run(tmp_path, text.replace(old, new, 1)) == 1
