# SPDX-License-Identifier: Apache-2.0
"""The echo firmware, built once a session for each board, compiler and set of options."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from device.harness.boards import BOARDS, Board
from device.harness.build import build
from device.harness.firmware import Firmware
from device.harness.port import INCLUDE_DIR, LINK_SCRIPT, link_script, port_files
from device.harness.toolchain import Kind, find_toolchain

ECHO = Path(__file__).parent / "echo"

WriteSources = Callable[..., Path]
BuildEcho = Callable[..., Firmware]


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build cache of this session."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def write_sources(tmp_path_factory: pytest.TempPathFactory) -> WriteSources:
    """Writes a generated folder of the echo firmware for a board, with extra files."""

    def write(board: Board, extra: dict[str, str] | None = None) -> Path:
        folder = tmp_path_factory.mktemp("sources") / "generated"
        shutil.copytree(ECHO, folder)
        (folder / "include" / "hadapt").mkdir(parents=True)
        for name in ("port.h", "status.h", "flash.h"):
            shutil.copy(INCLUDE_DIR / "hadapt" / name, folder / "include" / "hadapt")
        files = dict(port_files(board))
        files.update({name: text.encode() for name, text in (extra or {}).items()})
        for name, content in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        return folder

    return write


@pytest.fixture(scope="session")
def build_echo(cache: Path, write_sources: WriteSources) -> BuildEcho:
    """Builds the echo firmware; board by name, compiler by kind."""

    def make(
        board: str,
        kind: Kind = "gcc",
        extra: dict[str, str] | None = None,
        *,
        opt: str = "-O2",
        defines: tuple[str, ...] = (),
        sanitize: bool = False,
    ) -> Firmware:
        target = BOARDS[board]
        toolchain = find_toolchain(target, kind)
        sources = write_sources(target, extra)
        return build(sources, target, toolchain, cache, opt=opt, defines=defines, sanitize=sanitize)

    return make


@pytest.fixture
def no_tools(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A search path without any tool, and no zig."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    yield


@pytest.fixture(scope="session")
def kept() -> Callable[[str, str, str], dict[str, str]]:
    """Extra files that plant a function and make the linker keep it."""

    def make(board: str, source: str, function: str) -> dict[str, str]:
        script = link_script(BOARDS[board])
        script = script.replace("KEEP(*(.vectors))", "KEEP(*(.vectors .vectors.*))")
        reference = '__attribute__((used, section(".vectors.z")))'
        reference += f" static void (*const keep)(void) = {function};\n"
        return {"planted.c": source + reference, LINK_SCRIPT: script}

    return make
