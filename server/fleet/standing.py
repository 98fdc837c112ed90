# SPDX-License-Identifier: Apache-2.0
"""Where devices stand, and which packets begin there: by version, or by firmware."""

from server.storage.fleet import PACKET_FIRMWARE, PacketRecord, TargetRecord
from server.storage.ports import Unit

# Of what leads on from a device's place only the newest can concern it.
RECENT = 50


def stands_at_base(target: TargetRecord, packet: PacketRecord) -> bool:
    """True if a packet is for where a device stands: by its firmware, or by its version."""
    if packet.kind == PACKET_FIRMWARE:
        return target.firmware_id == packet.base_firmware_id
    return target.version == packet.base_version


def stands_at_result(target: TargetRecord, packet: PacketRecord) -> bool:
    """True if a device stands where a packet leads to."""
    if packet.kind == PACKET_FIRMWARE:
        return target.firmware_id == packet.firmware_id
    return target.version == packet.version


def base_text(packet: PacketRecord) -> str:
    """Where a packet begins, in words."""
    if packet.kind == PACKET_FIRMWARE:
        return f"with firmware {packet.base_firmware_id}"
    return f"at version {packet.base_version}"


def packets_from(unit: Unit, target: TargetRecord) -> list[PacketRecord]:
    """Newest packets that begin where a device stands."""
    wheres: list[dict[str, str | int]] = [
        {"model_id": target.model_id or "", "base_version": target.version}
    ]
    if target.firmware_id is not None:
        wheres.append({"base_firmware_id": target.firmware_id})
    found = [
        packet
        for where in wheres
        for packet in unit.fleet.packets.page(
            order="id", after=None, limit=RECENT, down=True, **where
        )
    ]
    return [packet for packet in found if stands_at_base(target, packet)]
