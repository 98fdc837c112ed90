# SPDX-License-Identifier: Apache-2.0
"""An emulated field device: real firmware (host build, or a board in an emulator), kept keys and
sequence, and the rules by which it takes a packet.

Packets go through the device's own parser, signature check and guard (SPEC.md 11.3): the firmware
is the field build, provisioned with the key of the trust file that the packet names. What the
gateway can tell before (a strange key, another base) it says in words.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from codegen.layouts import FIELD
from device.harness.boards import Board
from device.harness.client import DeviceClient
from device.harness.devices import Backend, open_device
from device.harness.errors import DeviceStatusError
from device.harness.field_client import FieldClient
from device.harness.firmware import Firmware
from device.packet import (
    Packet,
    PacketError,
    UpdateManifest,
    class_id,
    key_id,
    read_packet,
    state_digest,
    vendor_id,
    verify_packet,
)
from device.packet.learning_log import LearningLog, LearningLogError, digest_samples
from device.twin.learner import TwinLearner, raw_samples
from device.twin.model import IntModel
from server.errors import DeviceFailedError, InvalidInputError, Issue
from server.fleet.device_memory import Memory
from server.fleet.firmware_image import identity_of, is_image, read_image
from server.learning.firmwares import (
    backend_for,
    build_field,
    build_firmware,
    device_board,
    service_errors,
    stored_image,
)
from server.learning.learner_data import LearnerData, initial_exemplars
from server.learning.ports import Float32Array, Int64Array
from server.learning.sessions import TrainPlan, collect, deliver, restore, stage, train_some

VENDOR_DOMAIN = "hadapt.example"
# No signature is right under it: this device's keys come from its trust file, not by packet.
NO_ROOT = bytes(32)
LOG_FORMAT = "hadapt-learning-log"


class FieldDevice:
    """One device.

    Args:
        int_model: the model its firmware was built from.
        memory: where it stands.
        board: "host" for the host build, or a board's name.
        keys: release keys that it trusts, 32 bytes each.
        cache: folder of builds.
    """

    def __init__(
        self,
        int_model: bytes,
        memory: Memory,
        board: str,
        keys: list[bytes],
        cache: Path,
        vendor_domain: str = VENDOR_DOMAIN,
    ) -> None:
        self.model = IntModel.from_bytes(int_model)
        self.memory = memory
        self.board: Board = device_board(board)
        self.keys = keys
        self._cache = cache
        self.vendor_domain = vendor_domain

    @property
    def state_hash(self) -> str:
        """Of the learner at rest."""
        return self.memory.learner.state_hash.hex()

    @property
    def state_digest(self) -> str:
        """Of weights and what belongs to them (SPEC.md 11.1); exemplars are not in it."""
        return state_digest(self.memory.learner.state).hex()

    @contextmanager
    def running(self) -> Iterator[DeviceClient]:
        """The firmware, booted and given the learner; its own hash is compared."""
        with self._booted(self.memory.learner) as client:
            yield client

    @contextmanager
    def _booted(self, learner: LearnerData) -> Iterator[DeviceClient]:
        with self._started() as client:
            restore(client, initial_exemplars(self.model), learner)
            yield client

    @contextmanager
    def _started(self, field: bool = False) -> Iterator[FieldClient]:
        """The firmware, booted; only a field build knows the commands of SPEC.md 13."""
        if self.memory.image:
            firmware = stored_image(self.memory.image, self.board, self._cache)
        elif field:
            firmware = self._built()
        else:
            firmware = build_firmware(self.model, self.board, self._cache)
        with TemporaryDirectory() as flash, self._running_on(firmware, Path(flash)) as client:
            yield client

    @property
    def _backend(self) -> Backend:
        return "host" if self.board.is_host else backend_for(self.board)

    def _built(self) -> Firmware:
        """The field firmware that the device was built with."""
        return build_field(self.model, self.board, self._cache, self._backend != "unicorn")

    @contextmanager
    def _running_on(self, firmware: Firmware, flash: Path) -> Iterator[FieldClient]:
        with (
            service_errors(),
            open_device(
                firmware, self.board, self._backend, count=False, folder=flash
            ) as transport,
        ):
            yield FieldClient(transport)

    def take(self, artifact: bytes) -> dict[str, str]:
        """Take a packet or a firmware image. Returns: the digests that it led to, by kind.

        Raises: InvalidInputError that says what is wrong; nothing has changed then.
        """
        if is_image(artifact):
            return {"image_digest": self.install(artifact), "state_digest": self.state_digest}
        return {"state_digest": self.apply(artifact)}

    def install(self, data: bytes) -> str:
        """Swap to another firmware, if it can take over what flash holds.

        Returns: digest of the binary, as hex.
        Raises: InvalidInputError that says what is wrong; nothing has changed then.
        """
        image = read_image(data, self.keys)
        own = identity_of(self.vendor_domain, self.board.name, FIELD, self.model.model_id)
        for name, what in (
            ("vendor", "vendor"),
            ("klass", "board or layout"),
            ("model_id", "model"),
        ):
            right = getattr(image.identity, name) == getattr(own, name)
            self._check(right, f"firmware for another {what}")
        last = self.memory.image_sequence
        # The same image again is harmless: it runs already.
        if (image.sequence, image.binary) == (last, self.memory.image):
            return image.digest
        self._check(image.sequence > last, f"sequence {image.sequence}, the last was {last}")
        self._try(image.binary)
        self.memory = replace(self.memory, image=image.binary, image_sequence=image.sequence)
        return image.digest

    def _try(self, binary: bytes) -> None:
        """Start a firmware on a copy of this device's flash; it must find all that was learned."""
        self._check(self._backend != "unicorn", "this emulator keeps no flash; install QEMU")
        firmware = stored_image(binary, self.board, self._cache)
        current = self._built()
        if self.memory.image:
            current = stored_image(self.memory.image, self.board, self._cache)
        with TemporaryDirectory() as folder:
            with self._running_on(current, Path(folder)) as client:
                restore(client, initial_exemplars(self.model), self.memory.learner)
            try:
                with self._running_on(firmware, Path(folder)) as client:
                    found, why = client.state_hash(), client.field_info().why
            except (DeviceFailedError, DeviceStatusError) as error:
                raise self._refused(f"the new firmware does not start: {error}") from error
        self._check(
            found == self.memory.learner.state_hash,
            f"the new firmware would lose what the device has learned ({why})",
        )

    def apply(self, envelope: bytes) -> str:
        """Take a packet (SPEC.md 11.3). Returns: the state digest that it led to, as hex.

        Raises: InvalidInputError that says what is wrong; nothing has changed then.
        """
        packet = self._verified(envelope)
        manifest = packet.manifest
        if not isinstance(manifest, UpdateManifest):
            raise self._refused("it brings a key; this device's keys come from its trust file")
        here = state_digest(self.memory.learner.state)
        # The same packet again is harmless: it has led here already.
        if (manifest.sequence, manifest.result) == (self.memory.sequence, here):
            return here.hex()
        last = self.memory.sequence
        self._check(manifest.sequence > last, f"sequence {manifest.sequence}, the last was {last}")
        self._check(manifest.base == here, f"made for base {manifest.base.hex()}")
        learner = self._changed(packet, envelope)
        self._check(state_digest(learner.state) == manifest.result, "it leads elsewhere")
        self.memory = replace(self.memory, learner=learner, sequence=manifest.sequence)
        return manifest.result.hex()

    def _verified(self, envelope: bytes) -> Packet:
        """The packet, once a trusted key's signature, vendor and class are checked."""
        try:
            packet = read_packet(envelope)
            key = next((k for k in self.keys if key_id(k) == packet.kid), None)
            self._check(key is not None, f"signed by key {packet.kid.hex()}, which is not trusted")
            verify_packet(packet, key or b"")
        except PacketError as error:
            raise self._refused(str(error)) from error
        vendor = vendor_id(self.vendor_domain)
        self._check(packet.manifest.vendor == vendor, "made for another vendor")
        klass = class_id(vendor, self.model.model_id)
        self._check(packet.manifest.klass == klass, "made for another model")
        return packet

    def _changed(self, packet: Packet, envelope: bytes) -> LearnerData:
        """The learner after the packet, as the device itself read and committed it."""
        vendor = vendor_id(self.vendor_domain)
        release = next(k for k in self.keys if key_id(k) == packet.kid)
        held = initial_exemplars(self.model)
        with self._started(field=True) as client:
            restore(client, held, self.memory.learner)
            klass = class_id(vendor, self.model.model_id)
            client.provision(vendor, klass, NO_ROOT, release)
            try:
                digest = client.apply_packet(envelope)
            except DeviceStatusError as error:
                raise self._refused(client.field_info().why) from error
            return self._of_known_classes(collect(client, digest, client.info().samples))

    def _of_known_classes(self, learner: LearnerData) -> LearnerData:
        """A packet back to fewer classes leaves their samples; no device could be given them."""
        kept = tuple(e for e in learner.exemplars if e.label < learner.n_classes)
        if len(kept) == len(learner.exemplars):
            return learner
        with self._started() as client:
            draft = LearnerData(learner.state, b"", kept)
            digest = deliver(client, initial_exemplars(self.model), draft)
            return collect(client, digest, client.info().samples)

    def _refused(self, what: str) -> InvalidInputError:
        issue = Issue(what, "packet", f"a packet from {self.state_hash} on")
        return InvalidInputError(f"Packet refused: {what}.", [issue])

    def _check(self, right: bool, what: str) -> None:
        if not right:
            raise self._refused(what)

    def predict(self, x: Float32Array) -> Int64Array:
        """Class slots of samples, one inference on the device each."""
        with self.running() as client:
            raw = raw_samples(self.model, x)
            return np.array([client.infer(sample)[0] for sample in raw], np.int64)

    def learn(
        self, x: Float32Array, y: Int64Array, plan: TrainPlan, class_count: int
    ) -> dict[str, Any]:
        """Learn alone, and keep it.

        Returns: the log that the device itself kept (SPEC.md 13.4), which holds no sample.
        """
        base = self.memory.learner
        raw = raw_samples(self.model, x)
        with self._started(field=True) as client:
            restore(client, initial_exemplars(self.model), base)
            client.restart_log()
            info = client.info()
            free = info.exemplar_slots + info.staging_slots - info.samples
            if len(raw) > free:
                issue = Issue(f"{len(raw)} samples", "device", f"at most {free}")
                raise InvalidInputError("The device has no room for the samples.", [issue])
            stage(client, raw, y, base.n_classes, class_count)
            train_some(client, plan, 0, plan.steps, lambda: None)
            digest = client.commit()
            learner = collect(client, digest, client.info().samples)
            log = LearningLog.from_bytes(client.learning_log())
        self.memory = replace(self.memory, learner=learner)
        return {
            "format": LOG_FORMAT,
            "version": 2,
            "model_id": log.model_id.hex(),
            "base_hash": log.base.hex(),
            "result_hash": log.result.hex(),
            "whole": log.whole,
            "records": [record.told() for record in log.records],
            "device_log": log.to_bytes().hex(),
        }

    def replay(self, log: dict[str, Any], x: Float32Array) -> str:
        """Repeat another device's learning from its log and the samples, in any order.

        Returns: the state hash arrived at; the caller compares it with log["result_hash"].
        Raises: InvalidInputError if model, base or samples are not those of the log.
        """
        right = (log.get("format"), log.get("version")) == (LOG_FORMAT, 2)
        self._check_log(right, "not a learning log of version 2")
        try:
            told = LearningLog.from_bytes(bytes.fromhex(log["device_log"]))
            self._check_log(told.model_id == self.model.model_id, "the log is of another model")
            self._check_log(told.result.hex() == log["result_hash"], "the file was changed")
            samples = digest_samples(TwinLearner(self.model).x0_of(raw_samples(self.model, x)))
            with self.running() as client:
                return told.repeat(client, samples).hex()
        except (LearningLogError, DeviceStatusError) as error:
            raise self._no_replay(str(error)) from error

    def _check_log(self, right: bool, what: str) -> None:
        if not right:
            raise self._no_replay(what)

    def _no_replay(self, what: str) -> InvalidInputError:
        issue = Issue(what, "log", f"a log that begins at {self.state_hash}, and its samples")
        return InvalidInputError(f"The log cannot be replayed: {what}.", [issue])


@dataclass(frozen=True)
class Figures:
    """Accuracies in [0, 1] on the device's own samples, whole and by class slot."""

    accuracy: float
    per_class: dict[int, float]

    def forgetting_since(self, before: "Figures") -> float:
        """Mean over the classes known before of what was lost, at least 0 each."""
        lost = [
            max(0.0, old - self.per_class.get(slot, 0.0)) for slot, old in before.per_class.items()
        ]
        return sum(lost) / len(lost) if lost else 0.0


def measure(device: FieldDevice, x: Float32Array, y: Int64Array) -> Figures:
    """Score the device on its own samples of classes that it knows."""
    known = y < device.memory.learner.n_classes
    guessed, right = device.predict(x[known]), y[known]
    hits = guessed == right
    per_class = {int(c): float(hits[right == c].mean()) for c in np.unique(right)}
    return Figures(float(hits.mean()) if len(hits) else 0.0, per_class)
