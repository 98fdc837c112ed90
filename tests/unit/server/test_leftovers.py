# SPDX-License-Identifier: Apache-2.0
"""What killed processes leave behind is removed at a later start, and nothing that is in use."""

import os
import subprocess
import time
from pathlib import Path

import pytest

from device.harness import confine
from server.errors import InvalidInputError
from server.learning.engine import HadaptEngine
from server.learning.firmwares import clean_up_cache
from server.learning.ports import load_engine
from server.services.context import STALE_S, clean_up, open_context
from server.settings import Settings
from tests.api.fake_engine import FakeEngine
from tests.api.harness import make_settings


def made(path: Path, old: bool, folder: bool = False) -> Path:
    """A file, or a folder with one; as old as a forgotten one, or new."""
    (path if folder else path.parent).mkdir(parents=True, exist_ok=True)
    (path / "x" if folder else path).write_text("x")
    at = time.time() - (2 * STALE_S if old else 0)
    os.utime(path, (at, at))
    return path


def test_old_uploads_and_folders_go_and_new_ones_stay(tmp_path: Path) -> None:
    settings = make_settings(tmp_path / "data")
    context = open_context(settings, FakeEngine(settings))
    folder = settings.temporary_dir
    gone = [made(folder / "a", True), made(folder / "b", True, folder=True)]
    kept = [made(folder / "c", False), made(folder / "d", False, folder=True)]
    clean_up(context)
    context.database.close()
    assert not any(path.exists() for path in gone)
    assert all(path.exists() for path in kept)


def test_unfinished_builds_go_and_finished_ones_stay(tmp_path: Path) -> None:
    gone = [made(tmp_path / "sources" / "tmpabc", True, folder=True)]
    gone += [made(tmp_path / "builds" / ".build-abc", True, folder=True)]
    gone += [made(tmp_path / "images" / "0" / "tmpabc", True)]
    kept = [made(tmp_path / "sources" / ("0" * 32), True, folder=True)]
    kept += [made(tmp_path / "builds" / ".build-new", False, folder=True)]
    clean_up_cache(tmp_path, time.time() - STALE_S)
    assert not any(path.exists() for path in gone)
    assert all(path.exists() for path in kept)


def test_empty_folder_of_a_dead_process_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(confine.tempfile, "tempdir", str(tmp_path))
    with subprocess.Popen(["true"]) as process:
        process.wait()
    dead = tmp_path / f"{confine.EMPTY_PREFIX}{process.pid}-x"
    alive = tmp_path / f"{confine.EMPTY_PREFIX}{os.getpid()}-x"
    dead.mkdir(), alive.mkdir()
    confine._sweep()
    assert not dead.exists() and alive.exists()


def test_builds_of_the_service_are_where_they_are_cleaned_up(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    assert HadaptEngine(settings).cache == settings.cache_dir


@pytest.mark.parametrize("name", ["nowhere.at_all:Engine", "server.learning.engine:Nobody", "x"])
def test_engine_that_is_not_there_is_named(name: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        load_engine(Settings(engine=name))
    assert caught.value.errors[0].where == "HADAPT_ENGINE"
