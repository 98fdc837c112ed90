# SPDX-License-Identifier: Apache-2.0
"""The proof of bit-exactness: it holds on every board, and it can fail."""

import os
from pathlib import Path

import pytest

from benchmarks.executions import Execution, boot_twin, planted_sources, short_executions
from benchmarks.models import SMALL_INT8, subject
from benchmarks.proof import Row, main, prove_one
from benchmarks.scenario import Trace, run_scenario
from codegen.generate import generate, write_folder
from device.harness.boards import BOARDS
from device.harness.toolchain import find_toolchain
from server.learning.firmwares import cache_folder

# Kernel, text in its source, planted error, session in which it first shows.
PLANTED = (
    ("arithmetic/had_fwht.c", "a[h] = odd + difference;", "a[h] = odd - difference;", 1),
    ("kernels/had_panel.c", "had_saturate_acc(sums[r][c])", "sums[r][c]", 1),
    ("dense/had_weight_grad.c", "HAD_TENSOR_UPDATE(layer->index)", "HAD_TENSOR_UPDATE(0)", 1),
)


@pytest.fixture(scope="module")
def expected() -> Trace:
    """The twin's trace of the small model."""
    item = subject(SMALL_INT8)
    with boot_twin(item) as twin:
        return run_scenario(twin, item)


@pytest.mark.parametrize("execution", short_executions(), ids=lambda e: e.label)
def test_proof_of_execution_is_bit_exact(execution: Execution, expected: Trace) -> None:
    missing = execution.missing()
    if missing is not None:
        pytest.skip(missing)
    row = prove_one(subject(SMALL_INT8), execution, expected, cache_folder())
    assert row.bit_exact, f"{row.difference}; again: python -m benchmarks.proof"
    assert row.steps >= 50
    assert len(row.elf_sha256) == 64
    assert row.state_hash == expected.state_hash


def test_proof_of_smallest_core_built_for_size_is_bit_exact(expected: Trace) -> None:
    execution = Execution("qemu", BOARDS["microbit"], "gcc", "-Os")
    missing = execution.missing()
    if missing is not None:
        pytest.skip(missing)
    row = prove_one(subject(SMALL_INT8), execution, expected, cache_folder())
    assert row.bit_exact, f"{row.difference}; again: python -m benchmarks.proof --long"


def test_scenario_covers_what_it_claims(expected: Trace) -> None:
    kinds = {event.what for event in expected.events}
    assert {"class added", "rollback", "import", "export", "inference", "commit"} <= kinds
    steps = [event for event in expected.events if event.place is not None]
    assert len(steps) == expected.steps
    assert len({event.value for event in steps}) == expected.steps, "a step changed nothing"
    slices = [event for event in expected.events if event.what == "slice"]
    assert len(slices) > 2 * expected.steps, "steps are not cut"


@pytest.mark.parametrize(("file", "old", "new", "session"), PLANTED, ids=[p[0] for p in PLANTED])
def test_proof_with_planted_error_fails_and_names_the_place(
    file: str, old: str, new: str, session: int, expected: Trace, tmp_path: Path
) -> None:
    row = _planted(file, old, new, expected, tmp_path)
    assert not row.bit_exact
    assert row.state_hash != expected.state_hash
    assert f"first in session {session}, step" in row.difference, row.difference
    assert "layer" in row.difference, row.difference


# Inner loops in assembly run on their own core only: board, file, text, planted error.
PLANTED_ASSEMBLY = (
    ("microbit", "cores/had_octet_thumb.c", "mov r11, r2", "mov r11, r3"),
    ("microbit", "cores/had_octet_thumb.c", "bne 17f", "beq 14f"),
    ("microbit", "cores/had_octet_thumb.c", "adds r6, r6, r3", "adds r6, r6, r2"),
    ("microbit", "cores/had_packed_v6m.c", "add r9, r4", "add r9, r5"),
    ("mps2-an385", "cores/had_long_thumb.c", "smlal r8, r9, r5, r3", "smlal r8, r9, r4, r3"),
    ("mps2-an385", "cores/had_long_thumb.c", "bne 19f", "beq 17f"),
    (
        "mps2-an385",
        "cores/had_long_thumb.c",
        "had_long_add r10, r11, 16",
        "had_long_add r10, r11, 8",
    ),
    ("mps2-an385", "cores/had_packed_v7m.c", ", lsr #12", ", lsr #11"),
    ("mps2-an386", "cores/had_packed_dsp.c", "lsl #4", "lsl #5"),
    ("mps2-an386", "cores/had_dsp_fields.c", "bne 20f", "beq 18f"),
    ("mps2-an385", "cores/had_fwht_thumb.c", "subs r3, r3, r5", "subs r3, r3, r4"),
    ("mps2-an386", "cores/had_dsp_update.c", "ssub8 r12, r10, r5", "ssub8 r12, r5, r10"),
    ("mps3-an547", "cores/had_dot_mve.c", "vqshl.s16 q5", "vshl.i16 q5"),
    ("mps3-an547", "cores/had_mve_rows.c", "vaddvat.u16 %[bits], q3", "vaddvat.u16 %[bits], q4"),
    ("mps3-an547", "cores/had_packed_mve.c", "vmovnt.i32 q4, q5", "vmovnt.i32 q4, q4"),
    ("mps3-an547", "cores/had_packed_mve.c", "vrshr.s32 q1, q1, #16", "vshr.s32 q1, q1, #16"),
)


@pytest.mark.parametrize(
    ("board", "file", "old", "new"),
    PLANTED_ASSEMBLY,
    ids=[f"{p[1]}-{p[2]}" for p in PLANTED_ASSEMBLY],
)
def test_proof_with_planted_error_in_assembly_fails(
    board: str, file: str, old: str, new: str, expected: Trace, tmp_path: Path
) -> None:
    execution = Execution("qemu", BOARDS[board], "gcc")
    missing = execution.missing()
    if missing is not None:
        pytest.skip(missing)
    item = subject(SMALL_INT8)
    files = generate(item.model, BOARDS[board])
    text = files[f"runtime/src/{file}"].decode()
    assert old in text, f"{file} has no {old!r}: plant the error elsewhere"
    files[f"runtime/src/{file}"] = text.replace(old, new, 1).encode()
    sources = write_folder(files, tmp_path / "sources")
    row = prove_one(item, execution, expected, tmp_path / "cache", sources)
    assert not row.bit_exact


def _planted(file: str, old: str, new: str, expected: Trace, folder: Path) -> Row:
    item = subject(SMALL_INT8)
    sources = planted_sources(item, folder / "sources", f"runtime/src/{file}", old, new)
    kind = find_toolchain(BOARDS["host"]).kind
    execution = Execution("host", BOARDS["host"], kind, "-O0")
    return prove_one(item, execution, expected, folder / "cache", sources)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_proof_in_long_form_is_bit_exact(tmp_path: Path) -> None:
    assert main(["--long", "--out", str(tmp_path / "proof.json")]) == 0


def test_proof_in_ci_leaves_nothing_out() -> None:
    if os.environ.get("CI", "").lower() == "true":
        assert [e.missing() for e in short_executions()] == [None] * len(short_executions())
