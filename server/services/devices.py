# SPDX-License-Identifier: Apache-2.0
"""Fielded devices."""

from dataclasses import replace

from server.errors import ConflictError, InvalidInputError, Issue, NotFoundError
from server.ids import new_id, utc_text
from server.learning.ports import BoardInfo
from server.services.context import Context
from server.services.models import require_model
from server.services.paging import Page, decode_cursor, make_page
from server.storage.ports import Unit
from server.storage.records import DeviceRecord

# An emulated device that is a host build.
HOST = "host"


def check_boards(context: Context, names: list[str], host_too: bool = False) -> list[BoardInfo]:
    """The boards of these names; `host` passes, without a board, where devices may be host builds.

    Raises: InvalidInputError naming those there are.
    """
    found: list[BoardInfo] = []
    issues: list[Issue] = []
    said = ""
    for name in names:
        try:
            if name != HOST or not host_too:
                found.append(context.engine.board(name))
        except InvalidInputError as error:
            said = said or error.detail
            issues += [replace(issue, where="boards") for issue in error.errors]
    if issues:
        raise InvalidInputError(said, issues)
    return found


def create_device(
    context: Context, unit: Unit, name: str, model_id: str, board: str
) -> DeviceRecord:
    """Raises: NotFoundError, InvalidInputError, ConflictError if the name is taken."""
    check_boards(context, [board], host_too=True)
    require_model(unit, model_id)
    if unit.devices.find(name=name) is not None:
        issue = Issue(f"name {name!r}", "body name", "a name that no device has")
        raise ConflictError(f"There is a device {name!r} already.", [issue])
    device = DeviceRecord(new_id(), name, model_id, board, utc_text())
    unit.devices.add(device)
    return device


def require_device(unit: Unit, device_id: str) -> DeviceRecord:
    """Raises: NotFoundError."""
    device = unit.devices.find(id=device_id)
    if device is None:
        raise NotFoundError(f"There is no device {device_id}.")
    return device


def list_devices(context: Context, cursor: str | None, limit: int) -> Page[DeviceRecord]:
    """Devices, the newest first."""
    after = decode_cursor(cursor, str)
    with context.database.read() as unit:
        found = unit.devices.page(order="id", after=after, limit=limit + 1, down=True)
    return make_page(found, limit, lambda device: device.id)
