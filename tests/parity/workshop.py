# SPDX-License-Identifier: Apache-2.0
"""Errors planted in generated sources, and host executables that have them."""

import subprocess
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from codegen.generate import generate, write_folder
from device.harness.boards import BOARDS
from device.harness.client import DeviceClient
from device.harness.devices import HostTransport
from device.harness.toolchain import find_toolchain
from device.twin.learner import TwinLearner
from device.twin.model import IntModel
from tests.parity.sessions import Pair


@dataclass(frozen=True)
class Mutation:
    """One planted error: in `file`, the first `old` becomes `new`; `model` notices it.

    `layout` is the board whose plan is compiled for the host: devices use packed fields;
    with +dsp the kernels of the DSP extension, with +long those of the M3, from plain C.
    """

    file: str
    old: str
    new: str
    model: str = "small"
    layout: str = "host"


class Workshop:
    """Host executables of one model, compiled file by file: an error costs what includes it."""

    def __init__(self, folder: Path, model: IntModel, layout: str, trace: bool = False) -> None:
        self.folder = folder
        self.model = model
        board, _, variant = layout.partition("+")
        self.flags = [f"-DHAD_{variant.upper()}_IN_C"] if variant else []
        device = generate(model, BOARDS[board], trace)
        device = {name: c for name, c in device.items() if not name.startswith("port/")}
        self.files = {**generate(model, BOARDS["host"], trace), **device}
        sources = [name for name in self.files if name.endswith(".c")]
        self.objects: dict[str, Path] = {}
        self.objects = self._compile(write_folder(self.files, folder / "sound"), sources)

    def sound(self) -> Path:
        """Executable without an error."""
        return self._link(self.objects, "sound.elf")

    def planted(self, mutation: Mutation, number: int) -> Path:
        """Executable with the error in; its text must be there, and it must compile."""
        path = self._path(mutation)
        before = self.files[path].decode()
        assert mutation.old in before, f"{mutation.file} no longer holds {mutation.old!r}"
        after = before.replace(mutation.old, mutation.new, 1)
        if mutation.file.endswith(".c"):
            return self._link(self._with_file(mutation, after, number), f"{number}.elf")
        changed = {**self.files, path: after.encode()}
        folder = write_folder(changed, self.folder / f"sources-{number}")
        return self._link(self._compile(folder, self._including(mutation)), f"{number}.elf")

    def pair(self, elf: Path, stack: ExitStack) -> Pair:
        """The executable, running until the stack ends, beside a fresh twin."""
        device = DeviceClient(stack.enter_context(HostTransport(elf)))
        return Pair(self.model, TwinLearner(self.model), device)

    def _path(self, mutation: Mutation) -> str:
        """The one generated file of that name, whatever its folder."""
        (path,) = [n for n in self.files if f"/{n}".endswith(f"/{mutation.file}")]
        return path

    def _including(self, mutation: Mutation) -> list[str]:
        """Sources that include the mutated header, by the lists that the compiler made."""
        return [
            name
            for name, target in self.objects.items()
            if f"/{Path(mutation.file).name}" in target.with_suffix(".d").read_text()
        ]

    def _with_file(self, mutation: Mutation, text: str, number: int) -> dict[str, Path]:
        path = self._path(mutation)
        source = self.folder / "sound" / path
        changed = source.with_name(f"mutant-{number}.txt")
        changed.write_text(text)
        target = self.folder / f"{number}.o"
        _compile(
            self.folder / "sound", [*self.flags, "-x", "c", "-c", str(changed), "-o", str(target)]
        )
        return {**self.objects, path: target}

    def _compile(self, folder: Path, names: list[str]) -> dict[str, Path]:
        """All objects, those of the named sources made anew from a folder."""
        sources = {name: folder / name for name in names}
        for source in sources.values():
            target = str(source.with_suffix(".o"))
            _compile(folder, [*self.flags, "-MMD", "-c", str(source), "-o", target])
        return {**self.objects, **{n: source.with_suffix(".o") for n, source in sources.items()}}

    def _link(self, objects: dict[str, Path], name: str) -> Path:
        _compile(self.folder, [*map(str, objects.values()), "-o", str(self.folder / name)])
        return self.folder / name


def _compile(folder: Path, arguments: list[str]) -> None:
    command = find_toolchain(BOARDS["host"]).command
    flags = ["-std=c11", "-O0", f"-I{folder}", f"-I{folder}/runtime/include"]
    flags += [f"-I{folder}/runtime/src"]
    subprocess.run([*command, *flags, *arguments], check=True, timeout=100)
