# SPDX-License-Identifier: Apache-2.0
"""The wire frame, and what every way of reaching a device has in common.

Source: SPEC.md 10.
"""

import struct
from types import TracebackType
from typing import Protocol, Self

from device.harness.errors import DeviceProtocolError, DeviceStatusError

REQUEST = struct.Struct("<BBHI")
REPLY = struct.Struct("<bBHI")
COMMAND_EXIT = 0x7F
COMMAND_TRACE = 0x7E  # replies of a traced build that come before the one asked for (port/trace.c)
REPLY_LIMIT_BYTES = 64 * 1024 * 1024
DEFAULT_TIMEOUT_S = 60.0


class Transport(Protocol):
    """A running device that answers commands. Not for use from two threads at once."""

    def exchange(
        self, command: int, payload: bytes = b"", timeout_s: float = DEFAULT_TIMEOUT_S
    ) -> bytes:
        """Send a command, wait for the reply, return its payload.

        Args:
            command: in [0, 126].
            payload: request bytes.
            timeout_s: limit for the whole exchange.
        Raises: DeviceStatusError (the device goes on), DeviceTimeoutError, DeviceCrashedError,
            DeviceProtocolError (after these three the device is gone).
        """
        ...

    def instructions(self) -> int | None:
        """Instructions executed between the count markers in the last exchange; None if unknown."""
        ...

    def close(self) -> None:
        """End the device; safe to call twice."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


def encode_request(command: int, payload: bytes) -> bytes:
    """Request frame.

    Raises: ValueError if the command or the payload's length is out of range.
    """
    if not 0 <= command <= COMMAND_EXIT:
        raise ValueError(f"command {command} is not in [0, {COMMAND_EXIT}]")
    return REQUEST.pack(command, 0, 0, len(payload)) + payload


def reply_length(header: bytes, command: int) -> int:
    """Payload length of a reply from its header.

    Raises: DeviceProtocolError if the header is not one that answers this command.
    """
    _, echo, reserved, length = REPLY.unpack(header)
    if echo != command or reserved != 0 or length > REPLY_LIMIT_BYTES:
        raise DeviceProtocolError(
            f"reply header {header.hex()} does not answer command 0x{command:02x}"
        )
    return int(length)


def is_trace(header: bytes) -> bool:
    """Whether a reply is a trace, what a layer made; a refusal of that command is none."""
    return len(header) == REPLY.size and header[1] == COMMAND_TRACE and header[0] == 0


def check_status(header: bytes, command: int) -> None:
    """Raise DeviceStatusError if the reply's status is negative."""
    status = REPLY.unpack(header)[0]
    if status < 0:
        raise DeviceStatusError(status, command)
    if status > 0:
        raise DeviceProtocolError(f"status {status} is not in [-128, 0]")
