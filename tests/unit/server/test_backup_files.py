# SPDX-License-Identifier: Apache-2.0
"""Files that are cut, damaged, altered or of another version are refused; nothing is restored."""

import gzip
import io
import json
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, inspect, text
from typer.testing import CliRunner

from server.backup.archive import END, HEAD, BackupInvalidError
from server.backup.make import back_up
from server.backup.restore import check_backup, restore
from server.cli import app
from server.errors import HadaptError, InternalError, NotFoundError
from server.settings import Settings
from server.storage import tables as t
from server.storage.blobs import open_blobs
from server.storage.database import open_engine
from server.storage.migrate import known_revisions, upgrade

TIME = "2026-11-27T00:00:00.000000Z"
SAMPLES = 30


def filled(folder: Path, revision: str = "head") -> Settings:
    """Stores with one model, its blobs and some samples."""
    settings = Settings(data_dir=folder / "data")
    settings.temporary_dir.mkdir(parents=True)
    blobs = open_blobs(settings)
    job = {
        "id": "1" * 32, "kind": "import", "subject_id": "2" * 32, "state": "running",
        "created_at": TIME, "started_at": TIME, "progress": {"share": 0.5}, "dispatched": True,
    }  # fmt: skip
    model = {
        "id": "2" * 32, "name": "Wörter \x7f", "created_at": TIME, "job_id": "1" * 32,
        "onnx_sha256": blobs.put(b"onnx"), "calibration_sha256": blobs.put(b"npz" * 1000),
        "feature_count": 4, "base_class_count": 3, "summary": {"null": None}, "options": {},
        "feature_min": -0.1, "feature_max": 1e300,
    }  # fmt: skip
    rows = [
        {
            "model_id": "2" * 32, "content_sha256": f"{n:064x}", "class_position": 0,
            "split": "train", "features": bytes([n]) * 16, "created_at": TIME,
        }
        for n in range(SAMPLES)
    ]  # fmt: skip
    engine = open_engine(settings.app_database_url)
    upgrade(engine, revision)
    with engine.begin() as connection:
        for table, values in ((t.jobs, [job]), (t.models, [model]), (t.samples, rows)):
            connection.execute(insert(table), values)
        if inspect(connection).has_table("sample_counts"):  # since 0004 they are kept beside
            count = {"class_position": 0, "split": "train", "count": SAMPLES}
            connection.execute(insert(t.sample_counts), {"model_id": "2" * 32, **count})
    engine.dispose()
    return settings


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The bytes of a good backup."""
    folder = tmp_path_factory.mktemp("whole")
    back_up(filled(folder), folder / "all.tar.gz")
    return (folder / "all.tar.gz").read_bytes()


def is_refused(folder: Path, data: bytes, match: str) -> None:
    """The file is refused with this message, and the stores stay empty."""
    path = folder / "bad.tar.gz"
    path.write_bytes(data)
    settings = Settings(data_dir=folder / "new")
    with pytest.raises(BackupInvalidError, match=match) as caught:
        restore(settings, path)
    assert caught.value.errors and str(path) in caught.value.errors[0].where
    assert not settings.data_dir.exists()


def member_list(data: bytes) -> list[tuple[str, bytes]]:
    """Members of an archive."""
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return [(i.name, tar.extractfile(i).read()) for i in tar]  # type: ignore[union-attr]


def archived(found: list[tuple[str, bytes]]) -> bytes:
    """An archive of members."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, data in found:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def with_head(data: bytes, **values: Any) -> bytes:
    """The archive with values of its head changed, and its digests as they then are."""
    import hashlib

    found = dict(member_list(data))
    found[HEAD] = json.dumps({**json.loads(found[HEAD]), **values}).encode()
    digests = json.loads(found[END]) | {HEAD: hashlib.sha256(found[HEAD]).hexdigest()}
    found[END] = json.dumps(digests).encode()
    return archived(list(found.items()))


def test_backup_comes_back(tmp_path: Path, whole: bytes) -> None:
    path = tmp_path / "all.tar.gz"
    path.write_bytes(archived(member_list(whole)))
    settings = Settings(data_dir=tmp_path / "new")
    contents = restore(settings, path)
    assert (contents.tables["samples"], contents.blobs) == (SAMPLES, 2)
    engine = open_engine(settings.app_database_url)
    with engine.connect() as connection:
        job = connection.execute(t.jobs.select()).mappings().one()
        model = connection.execute(t.models.select()).mappings().one()
    engine.dispose()
    assert (job["state"], job["dispatched"], job["started_at"]) == ("queued", False, None)
    assert (model["name"], model["summary"]) == ("Wörter \x7f", {"null": None})
    assert (model["feature_min"], model["feature_max"]) == (-0.1, 1e300)
    assert open_blobs(settings).get(model["onnx_sha256"]) == b"onnx"


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.7, 0.95])
def test_cut_file_is_refused(tmp_path: Path, whole: bytes, share: float) -> None:
    is_refused(tmp_path, whole[: int(share * len(whole))], "cut|not a backup")


@pytest.mark.parametrize("left", [1, 4, 8, 12])
def test_file_without_its_last_bytes_is_refused(tmp_path: Path, whole: bytes, left: int) -> None:
    is_refused(tmp_path, whole[:-left], "cut|damaged")


def says_the_same(data: bytes, whole: bytes) -> bool:
    """Some bits of a compressed stream carry nothing: codes of symbols that do not occur."""
    try:
        return gzip.decompress(data) == gzip.decompress(whole)
    except (OSError, EOFError, zlib.error):
        return False


def test_flipped_bit_is_refused(tmp_path: Path, whole: bytes) -> None:
    refused = 0
    for place in range(10, len(whole), max(1, len(whole) // 40)):
        data = bytearray(whole)
        data[place] ^= 0x10
        (tmp_path / "f").write_bytes(data)
        if says_the_same(bytes(data), whole):
            continue
        with pytest.raises(BackupInvalidError):
            check_backup(tmp_path / "f")
        refused += 1
    assert refused > 30


Change = Callable[[list[tuple[str, bytes]]], list[tuple[str, bytes]]]
FORGED: dict[str, tuple[Change, str]] = {
    "no end": (lambda m: m[:-1], "cut: its end is missing"),
    "no head": (lambda m: m[1:], "comes before hadapt-backup.json"),
    "a member is missing": (lambda m: [*m[:2], *m[3:]], "is missing"),
    "a member twice": (lambda m: [*m[:2], m[1], *m[2:]], "comes twice"),
    "after the end": (lambda m: [*m, ("blobs/" + "a" * 64, b"")], "after the end"),
    "another blob": (lambda m: [m[0], (m[1][0], b"evil"), *m[2:]], "not what was backed up"),
    "a path": (lambda m: [*m[:1], ("../../etc/passwd", b"x"), *m[1:]], "etc/passwd"),
    "twice the file": (lambda m: m, "something follows its end"),
    "not JSON": (lambda m: [(HEAD, b"{"), *m[1:]], "damaged"),
    "nothing": (lambda m: [], "cut"),
}


@pytest.mark.parametrize("name", FORGED)
def test_altered_archive_is_refused(tmp_path: Path, whole: bytes, name: str) -> None:
    change, match = FORGED[name]
    altered = archived(change(member_list(whole)))
    is_refused(tmp_path, altered * 2 if name == "twice the file" else altered, match)


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({"format": 2, "version": "9.0.0"}, "format 2, made by version 9.0.0"),
        ({"format": "1"}, "names no format"),
        ({"revision": "9999", "version": "9.0.0"}, "schema '9999', made by version 9.0.0"),
        ({"tables": []}, "head is damaged"),
        ({"tables": {"jobs": -1}}, "head is damaged"),
        ({"revision": None}, "head is damaged"),
    ],
)
def test_head_of_another_kind_is_refused(
    tmp_path: Path, whole: bytes, values: dict[str, Any], match: str
) -> None:
    is_refused(tmp_path, with_head(whole, **values), match)


def test_other_files_are_refused(tmp_path: Path, whole: bytes) -> None:
    for data in (b"", b"hello", gzip.compress(b"hello"), archived([("a.txt", b"x")])):
        (tmp_path / "f").write_bytes(data)
        with pytest.raises(BackupInvalidError, match=r"expected|f: "):
            check_backup(tmp_path / "f")


def test_rows_beyond_the_head_are_refused_and_undone(tmp_path: Path, whole: bytes) -> None:
    tables = json.loads(dict(member_list(whole))[HEAD])["tables"] | {"samples": SAMPLES + 1}
    (tmp_path / "f").write_bytes(with_head(whole, tables=tables))
    settings = Settings(data_dir=tmp_path / "new")
    with pytest.raises(BackupInvalidError, match=f"{SAMPLES} rows of samples"):
        restore(settings, tmp_path / "f")
    (tmp_path / "f").write_bytes(whole)
    assert restore(settings, tmp_path / "f").tables["samples"] == SAMPLES


@pytest.mark.parametrize("revision", known_revisions()[1:-1])
def test_backup_of_an_older_version_is_upgraded(tmp_path: Path, revision: str) -> None:
    contents = back_up(filled(tmp_path, revision), tmp_path / "old.tar.gz")
    assert contents.revision == revision
    settings = Settings(data_dir=tmp_path / "new")
    restore(settings, tmp_path / "old.tar.gz")
    engine = open_engine(settings.app_database_url)
    with engine.connect() as connection:
        assert (
            connection.scalar(text("SELECT version_num FROM alembic_version"))
            == (known_revisions()[0])
        )
        assert connection.scalar(text("SELECT sum(count) FROM sample_counts")) == SAMPLES
    engine.dispose()


def test_missing_or_damaged_blob_stops_the_backup(tmp_path: Path) -> None:
    settings = filled(tmp_path)
    blob = next(p for p in (settings.blob_dir / "sha256").iterdir() if p.stat().st_size == 4)
    blob.write_bytes(b"ONNX")
    with pytest.raises(InternalError, match="is damaged"):
        back_up(settings, tmp_path / "b.tar.gz")
    blob.unlink()
    with pytest.raises(InternalError, match="1 blobs are missing") as caught:
        back_up(settings, tmp_path / "b.tar.gz")
    assert caught.value.errors[0].where == "models.onnx_sha256"
    assert not list(tmp_path.glob("*b.tar*"))


def test_backup_needs_a_service(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="has no database"):
        back_up(Settings(data_dir=tmp_path), tmp_path / "b.tar.gz")
    open_engine(Settings(data_dir=tmp_path).app_database_url).connect().close()
    with pytest.raises(HadaptError, match="not Hadapt's, or empty"):
        back_up(Settings(data_dir=tmp_path), tmp_path / "b.tar.gz")


def test_commands_back_up_check_and_restore(tmp_path: Path) -> None:
    filled(tmp_path)
    file, run = str(tmp_path / "b.tar.gz"), CliRunner().invoke
    done = run(app, ["backup", file, "--data-dir", str(tmp_path / "data"), "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["tables"]["samples"] == SAMPLES
    assert Path(file).stat().st_mode & 0o777 == 0o600
    assert run(app, ["backup", file, "--data-dir", str(tmp_path / "data")]).exit_code == 2
    assert run(app, ["restore", file, "--check"]).exit_code == 0
    again = ["restore", file, "--data-dir", str(tmp_path / "new")]
    assert "samples  30" in run(app, again).stdout
    refused = run(app, again)
    assert (refused.exit_code, "nothing was restored" in refused.output) == (1, True)
    assert run(app, ["restore", str(tmp_path / "nothing")]).exit_code == 2
