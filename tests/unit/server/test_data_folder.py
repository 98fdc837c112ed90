# SPDX-License-Identifier: Apache-2.0
"""A data folder that cannot be used is named, with the reason and the remedy."""

from pathlib import Path

import pytest

from server.errors import UnavailableError
from server.services.context import open_context
from server.settings import Settings
from tests.api.fake_engine import FakeEngine


def check(settings: Settings, reason: str) -> None:
    with pytest.raises(UnavailableError, match=reason) as caught:
        open_context(settings, FakeEngine(settings))
    issue = caught.value.errors[0]
    assert str(settings.data_dir) in issue.where and "HADAPT_DATA_DIR" in issue.expected


def test_folder_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    check(Settings(data_dir=tmp_path / "file" / "data"), "not a directory")


def test_folder_that_cannot_be_written_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root writes everywhere; so the file system says no for whoever runs the tests."""

    def refuse(path: Path, *_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system", str(path))

    monkeypatch.setattr(Path, "touch", refuse)
    check(Settings(data_dir=tmp_path), "read-only file system")
