# SPDX-License-Identifier: Apache-2.0
"""The emulated field device and its command: refusals, there and back, replay."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from device.packet import state_digest
from device.packet.learning_log import LearningLog
from server.commands.model_file import ModelFile, load_model_file
from server.demo.example import write_example
from server.errors import InvalidInputError
from server.fleet.device_memory import Memory
from server.fleet.field_device import FieldDevice
from server.fleet.keys import FileSigner, generate_key
from server.fleet.trust import changed, first_trust, signed
from server.learning.firmwares import cache_folder
from server.learning.learner_data import LearnerData
from server.learning.packets import make_packet
from server.learning.ports import PacketTask

ROOT = Path(__file__).parents[4]
BOARD = "mps2-an386"


@dataclass
class Place:
    """A folder with models that know six and eight digits, data, and keys."""

    folder: Path
    base: ModelFile
    learned: ModelFile
    key: FileSigner

    def hadapt(self, *arguments: str, code: int = 0) -> Any:
        """Run a command; its JSON."""
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "server.cli", *arguments, "--json"]
        done = subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, timeout=240, check=False
        )
        assert done.returncode == code, done.stderr.decode()
        return json.loads(done.stdout)

    def packet(
        self, sequence: int = 1, domain: str = "hadapt.example", back: bool = False
    ) -> bytes:
        """The packet from six digits to eight, or back."""
        ends = [self.base.learner, self.learned.learner]
        base, result = reversed(ends) if back else ends
        task = PacketTask(self.base.int_model, base, result, sequence, domain)
        return make_packet(task, self.key).envelope

    def device(self, keys: list[bytes] | None = None, board: str = "host") -> FieldDevice:
        """A device that knows six digits."""
        trusted = [self.key.public_key] if keys is None else keys
        memory = Memory(LearnerData.from_bytes(self.base.learner))
        return FieldDevice(self.base.int_model, memory, board, trusted, cache_folder())


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    folder = tmp_path_factory.mktemp("device")
    write_example(folder)
    key = generate_key(folder / "release.pem")
    root = generate_key(folder / "root.pem")
    now = time.time()
    trust = changed(first_trust(root, now), now, add_release=key.public_key)
    (folder / "trust.json").write_bytes(signed(trust, root).to_bytes())
    made = Place(folder, None, None, key)  # type: ignore[arg-type]
    made.hadapt("quantize", "digits.onnx", "--data", "calib.npz", "-o", "base.hadapt")
    learn = ("learn", "base.hadapt", "--data", "new.npz", "--test", "test.npz", "--steps", "40")
    made.hadapt(*learn, "-o", "learned.hadapt")
    base, learned = (
        load_model_file(folder / "base.hadapt"),
        load_model_file(folder / "learned.hadapt"),
    )
    return replace(made, base=base, learned=learned)


@pytest.mark.parametrize("board", ["host", BOARD])
def test_device_goes_there_and_back(place: Place, board: str) -> None:
    device = place.device(board=board)
    assert device.apply(place.packet(1)) == state_digest(place.learned.state).hex()
    assert device.memory.learner.n_classes == 8
    assert device.apply(place.packet(2, back=True)) == state_digest(place.base.state).hex()
    assert device.memory.sequence == 2
    with device.running() as client:  # started anew, without samples of the classes that are gone
        assert client.info().samples == len(device.memory.learner.exemplars)


def test_packet_is_the_same_bytes_each_time(place: Place) -> None:
    assert place.packet() == place.packet() != place.packet(2)


REFUSALS: dict[str, tuple[str, Callable[[Place], tuple[FieldDevice, bytes]]]] = {
    "key": ("is not trusted", lambda p: (p.device([bytes(32)]), p.packet())),
    "no key": ("is not trusted", lambda p: (p.device([]), p.packet())),
    "vendor": ("another vendor", lambda p: (p.device(), p.packet(domain="other.example"))),
    "base": ("made for base", lambda p: (p.device(), p.packet(back=True))),
    "cut": ("not CBOR", lambda p: (p.device(), p.packet()[:-1])),
    "longer": ("deterministic", lambda p: (p.device(), p.packet() + b"\0")),
    "nothing": ("not CBOR", lambda p: (p.device(), b"")),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_wrong_packet_is_refused_and_changes_nothing(place: Place, name: str) -> None:
    text, make = REFUSALS[name]
    device, envelope = make(place)
    before = device.memory
    with pytest.raises(InvalidInputError, match=text):
        device.apply(envelope)
    assert device.memory == before


def test_older_and_equal_sequences_are_refused(place: Place) -> None:
    device = place.device()
    device.apply(place.packet(5))
    here = device.memory
    assert device.apply(place.packet(5)) == device.state_digest, "the same again is harmless"
    for sequence in (4, 5):
        with pytest.raises(InvalidInputError, match=f"sequence {sequence}, the last was 5"):
            device.apply(place.packet(sequence, back=True))
    assert device.memory == here


def test_every_flipped_byte_of_head_and_signature_is_refused(place: Place) -> None:
    device, envelope = place.device(), place.packet()
    before = device.memory
    for at in [*range(0, 400, 3), *range(400, len(envelope), 97)]:
        broken = bytearray(envelope)
        broken[at] ^= 1 << (at % 8)
        with pytest.raises(InvalidInputError, match="refused"):
            device.apply(bytes(broken))
    assert device.memory == before


def test_board_learns_alone_and_the_host_replays_it_to_the_same_hash(place: Place) -> None:
    common = ("base.hadapt", "--data", "new.npz", "--log", "log.json")
    sizes = ("--steps", "5", "--rows", "8")
    learned = place.hadapt("device", "learn", *common, "--state", "u1", "-b", BOARD, *sizes)
    replayed = place.hadapt("device", "replay", *common)
    assert replayed == {"log": learned["state_hash"], "replay": learned["state_hash"], "same": True}
    log = json.loads((place.folder / "log.json").read_bytes())
    kinds = [record["kind"] for record in log["records"]]
    assert kinds == ["class added"] * 2 + ["sample"] * 8 + ["session", "commit"]
    assert set(log["records"][2]) == {"kind", "label", "digest"}, "no sample leaves the device"
    told = LearningLog.from_bytes(bytes.fromhex(log["device_log"]))
    first = told.records[2]
    other = replace(first, payload=bytes([first.payload[0] ^ 1]) + first.payload[1:])
    changed_log = replace(told, records=(*told.records[:2], other, *told.records[3:]))
    log["device_log"] = changed_log.to_bytes().hex()
    (place.folder / "log.json").write_text(json.dumps(log))
    assert place.hadapt("device", "replay", *common, code=1)["same"] is False
    (place.folder / "log.json").write_text(json.dumps({**log, "version": 1}))
    assert "version 2" in place.hadapt("device", "replay", *common, code=1)["detail"]


def test_apply_command_keeps_what_it_took(place: Place) -> None:
    (place.folder / "p.suit").write_bytes(place.packet(3))
    common = ("base.hadapt", "--packet", "p.suit", "--trust", "trust.json", "--state", "u2")
    taken = place.hadapt("device", "apply", *common)
    assert taken == {"state_digest": state_digest(place.learned.state).hex(), "sequence": 3}
    kept = Memory.load(place.folder / "u2")
    assert kept is not None
    assert (kept.sequence, kept.learner.n_classes) == (3, 8)
    (place.folder / "p.suit").write_bytes(place.packet(2, back=True))
    problem = place.hadapt("device", "apply", *common, code=1)
    assert "sequence 2, the last was 3" in problem["detail"]
    assert Memory.load(place.folder / "u2") == kept
