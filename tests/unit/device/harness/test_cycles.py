# SPDX-License-Identifier: Apache-2.0
"""Instructions by class and the cycle model, on a program counted by hand."""

from collections import Counter

import capstone
import pytest

from device.harness.cycles import cycles, instruction_class, summarize

# loop: ldrb r2, [r0]; ldrb r3, [r0, #1]; muls r2, r3; strb r2, [r1]; subs r4, #1; bne loop; bx lr
CODE = bytes.fromhex("0278 4378 5a43 0a70 013c f9d1 7047")
COUNTS = {0: 10, 2: 10, 4: 10, 6: 10, 8: 10, 10: 10, 12: 1}


def test_classes_and_cycles_of_a_loop_are_those_by_hand() -> None:
    mode = capstone.CS_MODE_THUMB | capstone.CS_MODE_MCLASS
    code = list(capstone.Cs(capstone.CS_ARCH_ARM, mode).disasm(CODE, 0))
    found, on_m0 = summarize("M0", COUNTS, code)
    assert found == Counter({"load": 20, "store": 10, "multiply": 10, "branch": 11, "other": 10})
    # ten rounds of 2 + 2 + 1 + 2 + 1, nine taken branches of 3 and one of 1, and the return
    assert on_m0 == 10 * 8 + 9 * 3 + 1 + 3
    _, on_m3 = summarize("M3", COUNTS, code)
    assert on_m3 == 10 * (2 + 1 + 1 + 1 + 1) + 9 * 3 + 1 + 3


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("ldrsb.w", "load"),
        ("push", "store"),
        ("smlad", "multiply"),
        ("bl", "call"),
        ("bne", "branch"),
        ("bic", "other"),
        ("udiv", "divide"),
    ],
)
def test_class_of_a_mnemonic(name: str, kind: str) -> None:
    assert instruction_class(name) == kind


def test_several_registers_and_long_products_cost_more() -> None:
    assert cycles("M0", "ldm", 4, False) == 5
    assert (cycles("M3", "umull", 0, False), cycles("M4", "umull", 0, False)) == (4, 1)
    assert (cycles("M3", "mla", 0, False), cycles("M4", "mla", 0, False)) == (2, 1)
