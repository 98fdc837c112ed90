# SPDX-License-Identifier: Apache-2.0
"""Errors of the harness.

HarnessError
├── ToolchainMissingError    no compiler or emulator for this board, with the way to get it
├── BuildError               the compiler or linker refused; its log is kept
│   └── FirmwareTooLargeError    flash or RAM of the board is too small, and by how much
├── FloatFoundError          a linked firmware holds a float helper, libm or heap symbol
├── StackError               the stack has no bound: recursion, dynamic frame, unknown call
└── DeviceError              the running device
    ├── DeviceCrashedError   it stopped: fault, signal, exit code, closed pipe
    ├── DeviceTimeoutError   it did not answer in time and was killed
    ├── DeviceProtocolError  it answered bytes that are no reply to the command
    └── DeviceStatusError    it answered in good order with a negative had_status
"""


class HarnessError(Exception):
    """Base of every error of this package."""


class ToolchainMissingError(HarnessError):
    """A tool is absent; the message is one line that says how to get it."""


class BuildError(HarnessError):
    """Compiling or linking failed.

    Attributes:
        log: what the compiler wrote.
    """

    def __init__(self, message: str, log: str = "") -> None:
        super().__init__(f"{message}\n{log}" if log else message)
        self.log = log


class FirmwareTooLargeError(BuildError):
    """A firmware does not fit its board.

    Attributes:
        board: name of the board.
        memory: "flash" or "ram".
        overflow_bytes: how much too large it is.
    """

    def __init__(self, board: str, memory: str, overflow_bytes: int, log: str = "") -> None:
        super().__init__(f"{memory} of {board} is too small by {overflow_bytes} bytes", log)
        self.board = board
        self.memory = memory
        self.overflow_bytes = overflow_bytes


class FloatFoundError(HarnessError):
    """A firmware that must be integer only is not.

    Attributes:
        findings: one line per offending symbol or instruction.
    """

    def __init__(self, findings: tuple[str, ...]) -> None:
        super().__init__("not integer only: " + "; ".join(findings[:8]))
        self.findings = findings


class StackError(HarnessError):
    """The worst-case stack cannot be stated."""


class DeviceError(HarnessError):
    """Base of the errors of a running device."""


class DeviceCrashedError(DeviceError):
    """The device ended without being asked to.

    Attributes:
        exit_code: of the process (120: fault handler), negative for a signal, None if unknown.
        last_output: the tail of what it wrote for people.
    """

    def __init__(
        self, message: str, *, last_output: str = "", exit_code: int | None = None
    ) -> None:
        super().__init__(f"{message}; last output: {last_output!r}" if last_output else message)
        self.exit_code = exit_code
        self.last_output = last_output


class DeviceTimeoutError(DeviceError):
    """The device did not answer in `seconds`; it has been killed.

    Attributes:
        seconds: the limit that passed.
        last_output: the tail of what it wrote for people.
    """

    def __init__(self, seconds: float, last_output: str = "") -> None:
        tail = f"; last output: {last_output!r}" if last_output else ""
        super().__init__(f"no answer within {seconds:g} s{tail}")
        self.seconds = seconds
        self.last_output = last_output


class DeviceProtocolError(DeviceError):
    """The device wrote bytes that are not a reply frame to the command."""


class DeviceStatusError(DeviceError):
    """The device refused a command.

    Attributes:
        status: negative had_status (see hadapt/status.h).
        command: the command byte that was refused.
    """

    def __init__(self, status: int, command: int) -> None:
        super().__init__(f"command 0x{command:02x} answered status {status}")
        self.status = status
        self.command = command
