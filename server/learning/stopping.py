# SPDX-License-Identifier: Apache-2.0
"""Stopping long operations."""

from server.learning.ports import StoppedError, StopSignal


def check_stop(stop: StopSignal) -> None:
    """Raises: StoppedError if the operation is asked to end."""
    if stop.is_set():
        raise StoppedError("stopped on request")
