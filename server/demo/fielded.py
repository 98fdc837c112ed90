# SPDX-License-Identifier: Apache-2.0
"""The device in the field: started once from the downloaded firmware, then only given state.

Nothing of the service's memory is used: sources, state and exemplars come from downloads.
"""

import io
import zipfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from device.harness.boards import BOARDS, Board
from device.harness.build import build
from device.harness.client import DeviceClient
from device.harness.firmware import Firmware
from device.harness.toolchain import find_toolchain
from device.twin.learner import raw_samples
from device.twin.model import IntModel
from server.learning.firmwares import backend_for, emulated_device
from server.learning.learner_data import LearnerData, initial_exemplars, missing_exemplars
from server.learning.ports import Float32Array, Int64Array
from server.learning.sessions import deliver

STATE_FOLDER = "state/"
MANIFEST = "manifest.json"  # names the classes that the version knows
LEARNER_FILE = "state/learner.bin"


class FirmwareChangedError(RuntimeError):
    """A later version's firmware differs in more than its state: that would be a new ELF."""


@dataclass(frozen=True)
class Delivery:
    """What arrived on the device."""

    state_hash: str
    delivered_bytes: int


class FieldedDevice:
    """One emulated device that keeps running.

    Args:
        firmware_zip: as downloaded; what is below state/ is not compiled.
        int_model: integer model, for the raw form of samples.
        board: name of its board.
        folder: for sources and build.
    """

    def __init__(self, firmware_zip: bytes, int_model: bytes, board: str, folder: Path) -> None:
        self.board: Board = BOARDS[board]
        self._model = IntModel.from_bytes(int_model)
        self._sources = read_sources(firmware_zip)
        self.firmware: Firmware = self._build(folder)
        self.emulator = "QEMU" if backend_for(self.board) == "qemu" else "Unicorn"
        self._held = initial_exemplars(self._model)
        self._open = ExitStack()
        client, _ = self._open.enter_context(emulated_device(self.firmware, self.board))
        self._client: DeviceClient = client

    def _build(self, folder: Path) -> Firmware:
        sources = folder / "sources"
        for name, content in self._sources.items():
            path = sources / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return build(sources, self.board, find_toolchain(self.board), folder / "build")

    @property
    def state_hash(self) -> str:
        """The device's own state hash, now."""
        return self._client.state_hash().hex()

    def deliver(self, firmware_zip: bytes, state: bytes) -> Delivery:
        """Give the running device the state bytes and exemplars of a later version.

        Args:
            firmware_zip: of that version; only its exemplars are used.
            state: state bytes as downloaded from the update.
        Raises: FirmwareChangedError if anything but the state differs from the running firmware.
        """
        changed = changed_files(self._sources, read_sources(firmware_zip))
        if changed:
            raise FirmwareChangedError(f"the update comes with other sources: {', '.join(changed)}")
        with zipfile.ZipFile(io.BytesIO(firmware_zip)) as archive:
            learner = LearnerData.from_bytes(archive.read(LEARNER_FILE))
        if learner.state != state:
            raise FirmwareChangedError("state bytes of update and firmware differ")
        fresh = missing_exemplars(self._held, learner.exemplars)
        size = len(state) + sum(3 + len(e.packed) for e in fresh)
        arrived = deliver(self._client, self._held, learner)
        self._held = learner.exemplars
        return Delivery(arrived.hex(), size)

    def predict(self, x: Float32Array) -> Int64Array:
        """Class slots of samples, one inference on the device each."""
        raw = raw_samples(self._model, x)
        return np.array([self._client.infer(sample)[0] for sample in raw], np.int64)

    def close(self) -> None:
        """Switch it off."""
        self._open.close()


def read_sources(firmware_zip: bytes) -> dict[str, bytes]:
    """Files of a firmware zip without the state that comes along, and what tells of it."""
    with zipfile.ZipFile(io.BytesIO(firmware_zip)) as archive:
        told = [n for n in archive.namelist() if n.startswith(STATE_FOLDER)] + [MANIFEST]
        names = [n for n in archive.namelist() if n not in told]
        return {name: archive.read(name) for name in names}


def changed_files(old: dict[str, bytes], new: dict[str, bytes]) -> list[str]:
    """Names of files that are not the same in both.

    Example:
        >>> changed_files({"a.c": b"1", "b.c": b"2"}, {"a.c": b"1", "b.c": b"3", "c.c": b""})
        ['b.c', 'c.c']
    """
    return sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))
