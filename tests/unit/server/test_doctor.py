# SPDX-License-Identifier: Apache-2.0
"""What `hadapt doctor` says of a service that is well, not there yet, or broken in one place."""

import json
import os
from pathlib import Path

import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from server.cli import app
from server.commands.doctor_service import Check, check_service
from server.settings import Settings
from server.storage.blobs import open_blobs
from server.storage.database import open_engine
from server.storage.migrate import known_revisions, upgrade


def found(folder: Path) -> dict[str, Check]:
    """Checks by name."""
    return {check.name: check for check in check_service(folder)}


@pytest.fixture
def service(tmp_path: Path) -> Settings:
    """Stores of a service that has run."""
    settings = Settings(data_dir=tmp_path / "data")
    settings.data_dir.mkdir()
    open_blobs(settings)
    engine = open_engine(settings.app_database_url)
    upgrade(engine)
    engine.dispose()
    return settings


def run_sql(settings: Settings, statement: str) -> None:
    engine = open_engine(settings.app_database_url)
    with engine.begin() as connection:
        connection.execute(text(statement))
    engine.dispose()


def test_nothing_there_yet_is_no_fault_and_makes_nothing(tmp_path: Path) -> None:
    checks = found(tmp_path / "new")
    assert {c.name for c in checks.values() if c.state == "wrong"} == set()
    for name in ("data folder", "database", "job database", "blobs"):
        assert checks[name].state == "note" and checks[name].remedy, name
    assert not (tmp_path / "new").exists()


def test_service_that_is_well(service: Settings) -> None:
    checks = found(service.data_dir)
    for name in ("data folder", "disk", "database", "blobs"):
        assert checks[name].state == "ok", checks[name]
    assert f"schema {known_revisions()[0]}" in checks["database"].found


def test_schema_of_another_version_is_told(service: Settings) -> None:
    run_sql(service, "UPDATE alembic_version SET version_num = '0002'")
    older = found(service.data_dir)["database"]
    assert older.state == "note" and "backup" in str(older.remedy)
    run_sql(service, "UPDATE alembic_version SET version_num = '9999'")
    newer = found(service.data_dir)["database"]
    assert newer.state == "wrong" and "newer version" in newer.found


def test_broken_stores_are_told(
    service: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = service.data_dir
    (folder / "hadapt.sqlite3").write_bytes(b"not a database, though it is long enough" * 100)
    (tmp_path / "release.pem").write_text("x")
    os.chmod(tmp_path / "release.pem", 0o644)
    monkeypatch.setenv("HADAPT_SIGNER", str(tmp_path / "release.pem"))
    monkeypatch.setenv("HADAPT_TRUST_FILE", str(tmp_path / "trust.json"))
    monkeypatch.setenv("HADAPT_DISK_FREE_MIN_BYTES", str(1 << 60))
    secret = "postgresql+psycopg://u:s3cret@127.0.0.1:1/x?connect_timeout=2"
    monkeypatch.setenv("HADAPT_JOBS_DATABASE_URL", secret)
    checks = check_service(folder)
    wrong = [check for check in checks if check.state == "wrong"]
    assert [c.name for c in wrong] == [
        "disk", "database", "job database", "workers", "signing", "signing",
    ]  # fmt: skip
    assert all(check.remedy for check in wrong)
    assert "s3cret" not in repr(checks)
    assert wrong[-1].remedy == f"chmod 600 {tmp_path / 'release.pem'}"


def test_wrong_settings_and_urls_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HADAPT_DATABASE_URL", "nonsense")
    assert found(tmp_path)["database"].found == "not an SQLAlchemy URL"
    monkeypatch.setenv("HADAPT_PORT", "70000")
    (check,) = check_service(tmp_path)
    assert (check.state, check.found[:12]) == ("wrong", "HADAPT_PORT:")


def test_folder_that_is_a_file_or_read_only_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    check = found(tmp_path / "file")["data folder"]
    assert (check.state, check.remedy) == ("wrong", "HADAPT_DATA_DIR: a folder")
    if os.getuid():
        (tmp_path / "closed").mkdir(mode=0o500)
        assert found(tmp_path / "closed")["data folder"].state == "wrong"


def test_command_fails_where_the_service_is_broken(service: Settings) -> None:
    run = CliRunner().invoke
    done = run(app, ["doctor", "--json", "--data-dir", str(service.data_dir)])
    told = {check["name"]: check for check in json.loads(done.stdout)["service"]}
    assert done.exit_code == 0 and told["database"]["state"] == "ok"
    (service.data_dir / "hadapt.sqlite3").write_bytes(b"x" * 4096)
    broken = run(app, ["doctor", "--data-dir", str(service.data_dir)])
    assert broken.exit_code == 1 and "file is not a database" in broken.stdout
