# SPDX-License-Identifier: Apache-2.0
"""Finding compilers, and saying how to get those that are missing."""

import pytest

from device.harness.boards import BOARDS
from device.harness.errors import ToolchainMissingError
from device.harness.toolchain import Kind, available_toolchains, find_toolchain


@pytest.mark.parametrize(
    ("board", "kind"),
    [(b, k) for b in BOARDS for k in ("gcc", "zig")] + [("host", "clang")],
)
def test_find_toolchain_installed_is_found(board: str, kind: Kind) -> None:
    found = find_toolchain(BOARDS[board], kind)
    assert (found.kind, found.family) == (kind, BOARDS[board].family)
    assert any(c.isdigit() for c in found.version)
    assert "/" not in found.version


def test_find_toolchain_no_preference_takes_gcc_first() -> None:
    find_toolchain(BOARDS["microbit"], "gcc")  # skipped by name where it is missing
    assert find_toolchain(BOARDS["microbit"]).kind == "gcc"


def test_find_toolchain_without_gcc_falls_back_to_zig(
    monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_toolchain(BOARDS["microbit"]).kind == "zig"


@pytest.mark.parametrize(
    ("board", "kind", "advice"),
    [
        ("microbit", None, "apt install gcc-arm-none-eabi` or `pip install ziglang"),
        ("riscv-virt", "gcc", "apt install gcc-riscv64-unknown-elf"),
        ("host", "clang", "apt install clang"),
        ("host", "zig", "pip install ziglang"),
    ],
)
@pytest.mark.usefixtures("no_tools")
def test_find_toolchain_missing_says_how_to_get_it(
    board: str, kind: Kind | None, advice: str
) -> None:
    with pytest.raises(ToolchainMissingError) as caught:
        find_toolchain(BOARDS[board], kind)
    assert advice in str(caught.value)
    assert "\n" not in str(caught.value)


def test_find_toolchain_clang_for_a_device_is_refused() -> None:
    with pytest.raises(ToolchainMissingError, match="does not build for microbit"):
        find_toolchain(BOARDS["microbit"], "clang")


def test_available_toolchains_lists_all_seven() -> None:
    for board in ("host", "microbit", "riscv-virt"):
        find_toolchain(BOARDS[board], "gcc")  # skipped by name where one is missing
    find_toolchain(BOARDS["host"], "clang")
    found = [(t.family, t.kind) for t in available_toolchains()]
    assert found == [
        ("host", "gcc"),
        ("host", "clang"),
        ("host", "zig"),
        ("cortex_m", "gcc"),
        ("cortex_m", "zig"),
        ("rv32", "gcc"),
        ("rv32", "zig"),
    ]
