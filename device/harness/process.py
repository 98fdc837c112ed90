# SPDX-License-Identifier: Apache-2.0
"""A device that is a process: frames over its standard input and output."""

import os
import select
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from device.harness.confine import confined, empty_folder
from device.harness.errors import (
    DeviceCrashedError,
    DeviceError,
    DeviceProtocolError,
    DeviceTimeoutError,
    ToolchainMissingError,
)
from device.harness.run import kill_group
from device.harness.transport import (
    COMMAND_EXIT,
    COMMAND_TRACE,
    DEFAULT_TIMEOUT_S,
    REPLY,
    check_status,
    encode_request,
    is_trace,
    reply_length,
)

CHUNK_BYTES = 65536
TAIL_BYTES = 4000
EXIT_LIMIT_S = 2.0
EXIT_FAULT = 120
EXIT_BOOT_FAILED = 121
SHELL_SIGNAL_BASE = 128
FIRST_FREE_DESCRIPTOR = 10  # the guard below uses smaller ones itself

# Runs the device and, beside it, a reader of a pipe of which this process alone holds the writing
# end. When this process dies, in whatever way, the reader sees the end and kills the group: no
# device is ever left behind. (A parent-death signal would follow the thread that forked instead.)
_GUARD = """
ulimit -c 0
exec 3</proc/self/fd/$1 4<&0
shift
"$@" <&4 3<&- 4<&- &
child=$!
( read -r _ <&3; kill -9 -$$ ) >/dev/null 2>&1 </dev/null 4<&- &
guard=$!
exec 3<&- 4<&- </dev/null >/dev/null
wait $child
code=$?
kill $guard
exit $code
"""


class ProcessTransport:
    """Frames over the pipes of a long-lived process, which is killed when it fails."""

    def __init__(
        self, command: Sequence[str], inherit: Sequence[int] = (), folder: Path | None = None
    ) -> None:
        """Start the process.

        Args:
            command: program and arguments.
            inherit: file descriptors, 10 or higher, it is to have under the same numbers.
            folder: where it works, and may keep its flash; None if it keeps nothing.

        Raises: ToolchainMissingError if it cannot be started; ValueError for a low descriptor.
        """
        if any(descriptor < FIRST_FREE_DESCRIPTOR for descriptor in inherit):
            raise ValueError(f"inherited descriptors start at {FIRST_FREE_DESCRIPTOR}")
        self.traces: list[bytes] = []
        self._tail = b""
        self._buffer = bytearray()
        self._failure: DeviceError | None = None
        reader, self._lifeline = os.pipe()
        try:
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", _GUARD, "device", str(reader), *confined(command)],
                cwd=empty_folder() if folder is None else folder,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                start_new_session=True,
                pass_fds=(reader, *inherit),
            )
        except OSError as error:
            os.close(self._lifeline)
            raise ToolchainMissingError(f"{command[0]} does not start: {error}") from error
        finally:
            os.close(reader)
        self._streams = _pipes(self._process)
        self._input, self._output, self._errors = (s.fileno() for s in self._streams)
        for stream in self._streams:
            os.set_blocking(stream.fileno(), False)

    def exchange(
        self, command: int, payload: bytes = b"", timeout_s: float = DEFAULT_TIMEOUT_S
    ) -> bytes:
        """See Transport.exchange."""
        request = encode_request(command, payload)
        if self._failure is not None:
            raise self._failure
        deadline = time.monotonic() + timeout_s
        self.traces = []
        try:
            header = self._receive(REPLY.size, request, deadline, timeout_s)
            while is_trace(header):
                length = reply_length(header, COMMAND_TRACE)
                self.traces.append(self._receive(length, b"", deadline, timeout_s))
                header = self._receive(REPLY.size, b"", deadline, timeout_s)
            body = self._receive(reply_length(header, command), b"", deadline, timeout_s)
            if self._buffer:
                raise DeviceProtocolError(f"{len(self._buffer)} bytes after the reply")
        except DeviceError as error:
            self._failure = error
            self._kill()
            raise
        check_status(header, command)
        return body

    def instructions(self) -> int | None:
        """Not counted here; see QemuTransport."""
        return None

    @property
    def is_closed(self) -> bool:
        """True once close() has been called or the device has failed."""
        return self._lifeline < 0

    def last_output(self) -> str:
        """The tail of what the device wrote to its standard error, at most 4000 bytes."""
        return self._tail.decode(errors="replace").strip()

    def close(self) -> None:
        """Ask the device to end, kill it if it does not, and release the pipes."""
        if self._process.poll() is None and self._failure is None:
            try:
                self.exchange(COMMAND_EXIT, timeout_s=EXIT_LIMIT_S)
                self._process.wait(EXIT_LIMIT_S)
            except (DeviceError, subprocess.TimeoutExpired):
                pass
        self._kill()
        for stream in self._streams:
            stream.close()
        if self._failure is None:
            self._failure = DeviceCrashedError("the device has been closed")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _receive(self, n: int, request: bytes, deadline: float, limit_s: float) -> bytes:
        """Take n bytes of output, feeding the request meanwhile: pipes are small."""
        pending = memoryview(request)
        while pending or len(self._buffer) < n:
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise DeviceTimeoutError(limit_s, self.last_output())
            writers = [self._input] if pending else []
            ready, writable, _ = select.select([self._output, self._errors], writers, [], left_s)
            if self._errors in ready:
                self._read_errors()
            if self._output in ready and not self._read_output():
                raise self._crash()
            if writable:
                pending = pending[self._write(pending) :]
        taken = bytes(self._buffer[:n])
        del self._buffer[:n]
        return taken

    def _write(self, data: memoryview) -> int:
        try:
            return os.write(self._input, data[:CHUNK_BYTES])
        except BlockingIOError:
            return 0
        except BrokenPipeError as error:
            raise self._crash() from error

    def _read_output(self) -> bool:
        """Take what is there; False at the end of the output."""
        try:
            data = os.read(self._output, CHUNK_BYTES)
        except BlockingIOError:
            return True
        self._buffer += data
        return bool(data)

    def _read_errors(self) -> bool:
        try:
            data = os.read(self._errors, CHUNK_BYTES)
        except BlockingIOError:
            return False
        self._tail = (self._tail + data)[-TAIL_BYTES:]
        return bool(data)

    def _crash(self) -> DeviceCrashedError:
        """What to say of a process that ended by itself."""
        try:
            code = self._process.wait(EXIT_LIMIT_S)
        except subprocess.TimeoutExpired:
            return DeviceCrashedError("the device closed its output", last_output=self._drain())
        if code > SHELL_SIGNAL_BASE:
            code = SHELL_SIGNAL_BASE - code
        return DeviceCrashedError(
            f"the device stopped: {_describe(code)}", last_output=self._drain(), exit_code=code
        )

    def _drain(self) -> str:
        while self._read_errors():
            pass
        return self.last_output()

    def _kill(self) -> None:
        """End the whole group; the lifeline is closed last, when nobody is there to see it."""
        if self._lifeline < 0:
            return
        if self._process.poll() is None:
            kill_group(self._process.pid)
        self._process.wait()
        os.close(self._lifeline)
        self._lifeline = -1


def _pipes(process: subprocess.Popen[bytes]) -> tuple[IO[bytes], IO[bytes], IO[bytes]]:
    if process.stdin is None or process.stdout is None or process.stderr is None:
        raise ValueError("the process was started without pipes")
    return process.stdin, process.stdout, process.stderr


def _describe(code: int) -> str:
    if code == EXIT_FAULT:
        return "its fault handler ran (exit code 120)"
    if code == EXIT_BOOT_FAILED:
        return "it could not boot (exit code 121)"
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return f"exit code {code}"
