# SPDX-License-Identifier: Apache-2.0
"""Commands of a field device: flash, signed packets, forgetting guard (SPEC.md 13.3)."""

import struct
from dataclasses import dataclass

from device.harness.client import DeviceClient
from device.harness.errors import DeviceStatusError

LOG_HEADER_BYTES = 92
PIECE_BYTES = 128  # no device takes less in a request
_INFO = struct.Struct("<11Ii32s")

REASONS = {
    0: "none",
    1: "the envelope is malformed",
    2: "signed by a key that the device does not trust",
    3: "the manifest's digest is wrong",
    4: "the signature is wrong",
    5: "the manifest is malformed, or its kind does not fit its key",
    6: "for another vendor",
    7: "for another class of device",
    8: "the sequence number is not above the last one",
    9: "for another base state",
    10: "the payload is malformed",
    11: "the payload's digest is wrong",
    12: "cut short, or too long",
    13: "the result has another digest",
    14: "the result has values that no learner can have",
    15: "the device has uncommitted learning",
    16: "a class forgot more than its limit",
    17: "the classes forgot more than the limit of their mean",
    18: "a new class is recognised less than its floor",
    19: "what flash kept could not be taken whole: it is of another model or build",
}


@dataclass(frozen=True)
class FieldInfo:
    """Answer of FIELD_INFO.

    Attributes:
        sequence: of the last packet accepted.
        reason: of the last refusal, a key of REASONS; at_class: the class it is about.
        saves: sequence of the current slot; wear: largest number of erases of a slot.
        journal_bytes: free in the journal.
        compared, drop: of the last score: classes, and the sum of their drops in thousandths.
        state_digest: names the committed state (SPEC.md 11.1).
    """

    sequence: int
    provisioned: int
    reason: int
    at_class: int
    saves: int
    wear: int
    endurance: int
    journal_bytes: int
    reserved: int
    guard_slots: int
    compared: int
    drop: int
    state_digest: bytes

    @property
    def why(self) -> str:
        """The reason in words."""
        return REASONS.get(self.reason, f"reason {self.reason}")


class FieldClient(DeviceClient):
    """A DeviceClient with the commands of builds with HAD_FIELD."""

    def field_info(self) -> FieldInfo:
        """Place in flash, last refusal, last score."""
        return FieldInfo(*_INFO.unpack(self._ask(0x20)))

    def checkpoint(self) -> None:
        """Keep the working copy and the place in the session."""
        self._ask(0x21)

    def provision(self, vendor: bytes, klass: bytes, root: bytes, release: bytes) -> None:
        """Give the device its identity and keys; once."""
        self._ask(0x22, vendor + klass + root + release)

    def apply_packet(self, packet: bytes) -> bytes:
        """Send a packet. Returns: state hash. `field_info().why` tells why it was refused."""
        self._ask(0x23, struct.pack("<I", len(packet)))
        for at in range(0, len(packet), PIECE_BYTES):
            self._ask(0x24, packet[at : at + PIECE_BYTES])
        return self._ask(0x25)

    def packet_status(self, packet: bytes) -> int:
        """Status of applying a packet: 0, or why not (SPEC.md 10)."""
        try:
            self.apply_packet(packet)
        except DeviceStatusError as error:
            return error.status
        return 0

    def guard_add(self, label: int, packed: bytes) -> int:
        """Reserve a sample, packed x0, for the guard. Returns: free guard slots."""
        return int.from_bytes(self._ask(0x26, struct.pack("<BB", label, 0) + packed), "little")

    def guard_limits(self, class_drop: int, mean_drop: int, new_floor: int) -> None:
        """Limits in thousandths; 0xFFFF: none (SPEC.md 13.2)."""
        self._ask(0x27, struct.pack("<HHH", class_drop, mean_drop, new_floor))

    def learning_log(self) -> bytes:
        """What was learned since the log began (SPEC.md 13.4); device.packet reads it."""
        data = self._ask(0x29, struct.pack("<IHH", 0, LOG_HEADER_BYTES, 0))
        total = LOG_HEADER_BYTES + int.from_bytes(data[-4:], "little")
        while len(data) < total:
            piece = min(PIECE_BYTES, total - len(data))
            data += self._ask(0x29, struct.pack("<IHH", len(data), piece, 0))
        return data

    def restart_log(self) -> None:
        """Begin the learning log anew from the committed state."""
        self._ask(0x2A)

    def reboot(self) -> bytes:
        """Start again from flash. Returns: state hash of what was found."""
        return self._ask(0x28)
