# SPDX-License-Identifier: Apache-2.0
"""What is read of a firmware zip, and what is refused for a running device."""

import io
import zipfile

import pytest

from server.demo.fielded import FieldedDevice, FirmwareChangedError, read_sources


def package(**files: bytes) -> bytes:
    """A zip; double underscores stand for slashes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name.replace("__", "/"), content)
    return buffer.getvalue()


def test_read_sources_leaves_the_state_out() -> None:
    found = read_sources(package(main=b"int x;", state__learner=b"1", port__mem=b"2"))
    assert found == {"main": b"int x;", "port/mem": b"2"}


def test_deliver_other_sources_are_refused_by_name() -> None:
    device = FieldedDevice.__new__(FieldedDevice)  # no emulator: the check comes first
    device._sources = {"plan.c": b"1", "tables.c": b"1"}
    with pytest.raises(FirmwareChangedError, match=r"other sources: tables\.c$"):
        device.deliver(package(**{"plan.c": b"1", "tables.c": b"2"}), b"")
