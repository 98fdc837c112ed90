# SPDX-License-Identifier: Apache-2.0
"""Keys, trust file and audit: what must be refused is refused."""

import dataclasses
import json
import os
import stat
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy.exc import DatabaseError
from typer.testing import CliRunner

from server.cli import app
from server.errors import ConflictError
from server.fleet import audit, image_keys
from server.fleet.errors import KeyFileError, TrustError
from server.fleet.keys import FileSigner, generate_key, key_id, open_signer, verify
from server.fleet.trust import (
    Trust,
    changed,
    check_trust,
    first_trust,
    follow,
    read_trust,
    require_release,
    signed,
)
from server.storage.database import SqlDatabase, open_engine
from server.storage.migrate import upgrade

NOW = 1_800_000_000.0
RUNNER = CliRunner()


@pytest.fixture
def root(tmp_path: Path) -> FileSigner:
    return generate_key(tmp_path / "root.pem")


@pytest.fixture
def release(tmp_path: Path) -> FileSigner:
    return generate_key(tmp_path / "release.pem")


def test_key_file_has_mode_0600_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        generate_key(tmp_path / "k.pem")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "k.pem").stat().st_mode) == 0o600


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o620])
def test_key_that_others_may_touch_is_refused(root: FileSigner, mode: int) -> None:
    root.path.chmod(mode)
    with pytest.raises(KeyFileError, match=f"mode {mode:04o}"):
        FileSigner(root.path)


def test_key_file_is_never_overwritten(root: FileSigner) -> None:
    before = root.path.read_bytes()
    with pytest.raises(KeyFileError, match="already"):
        generate_key(root.path)
    assert root.path.read_bytes() == before


def test_key_files_of_other_kinds_are_refused(tmp_path: Path) -> None:
    image_keys.generate(tmp_path, 10, NOW)
    with pytest.raises(KeyFileError, match="another kind"):
        FileSigner(tmp_path / "image.pem")
    (tmp_path / "x").write_text("no key")
    (tmp_path / "x").chmod(0o600)
    with pytest.raises(KeyFileError, match="no unencrypted private key"):
        FileSigner(tmp_path / "x")
    with pytest.raises(KeyFileError, match="No such file"):
        FileSigner(tmp_path / "none")


def test_key_that_is_no_private_file_is_named(root: FileSigner, tmp_path: Path) -> None:
    link, pipe, empty = tmp_path / "link.pem", tmp_path / "pipe", tmp_path / "empty.pem"
    link.symlink_to(root.path)
    assert FileSigner(link).public_key == root.public_key
    root.path.chmod(0o640)
    with pytest.raises(KeyFileError, match="link.pem has mode 0640"):
        FileSigner(link)
    with pytest.raises(KeyFileError, match="already"):
        generate_key(link)
    root.path.unlink()
    with pytest.raises(KeyFileError, match="No such file"):
        FileSigner(link)
    with pytest.raises(KeyFileError, match="is a folder"):
        FileSigner(tmp_path)
    os.mkfifo(pipe, 0o600)
    with pytest.raises(KeyFileError, match="is no regular file"):
        FileSigner(pipe)
    with pytest.raises(KeyFileError, match="is no regular file"):
        FileSigner(Path("/dev/zero"))
    empty.touch(0o600)
    with pytest.raises(KeyFileError) as refused:
        FileSigner(empty)
    assert [issue.what for issue in refused.value.errors] == ["empty"]
    for spec in ("no_such_module:signer", f"{__name__}:Nobody", "module:"):
        with pytest.raises(KeyFileError, match="Signer"):
            open_signer(spec)


def test_openssl_verifies_what_we_sign(root: FileSigner, tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(b"message")
    (tmp_path / "s").write_bytes(root.sign(b"message"))
    command = ["openssl", "pkeyutl", "-verify", "-rawin", "-inkey", str(root.path)]
    command += ["-in", str(tmp_path / "m"), "-sigfile", str(tmp_path / "s")]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    assert not verify(root.public_key, root.sign(b"message"), b"messagf")


class Module:
    """Stands for a hardware module: the key never is a file of ours."""

    public_key = bytes(range(32))

    def sign(self, message: bytes) -> bytes:
        return bytes(64)


def test_signer_may_be_a_hardware_module() -> None:
    signer = open_signer(f"{__name__}:Module")
    assert (signer.public_key, signer.sign(b"")) == (bytes(range(32)), bytes(64))


def test_release_key_signs_until_it_is_revoked_or_the_file_expires(
    root: FileSigner, release: FileSigner
) -> None:
    first = check_trust(first_trust(root, NOW), NOW)
    with pytest.raises(TrustError, match="no release key"):
        require_release(first, release, NOW)
    second = follow(first, signed(changed(first, NOW, add_release=release.public_key), root), NOW)
    name = key_id(release.public_key)
    assert require_release(second, release, NOW) == name
    with pytest.raises(TrustError, match="expired"):
        require_release(second, release, NOW + 366 * 86400)
    third = follow(second, signed(changed(second, NOW, revoke=(name,)), root), NOW)
    with pytest.raises(TrustError, match="is revoked"):
        require_release(third, release, NOW)
    with pytest.raises(TrustError, match="is revoked"):
        changed(third, NOW, add_release=release.public_key)


def test_new_root_comes_in_by_the_old_one_only(root: FileSigner, tmp_path: Path) -> None:
    other = generate_key(tmp_path / "other.pem")
    first = first_trust(root, NOW)
    draft = changed(first, NOW, add_root=other.public_key, revoke=(key_id(root.public_key),))
    with pytest.raises(TrustError, match="root before"):
        follow(first, signed(draft, other), NOW)
    second = follow(first, signed(draft, root, other), NOW)
    assert list(second.root) == [key_id(other.public_key)]
    # The old root is revoked: it alone brings nothing in any more.
    with pytest.raises(TrustError, match="no signature"):
        follow(second, signed(changed(second, NOW), root), NOW)


def test_trust_versions_only_grow_and_revocations_stay(
    root: FileSigner, release: FileSigner
) -> None:
    first = first_trust(root, NOW)
    second = signed(changed(first, NOW, add_release=release.public_key), root)
    with pytest.raises(TrustError, match="version 1"):
        follow(second, first, NOW)
    with pytest.raises(TrustError, match="version 2"):
        follow(second, second, NOW)
    third = signed(changed(second, NOW, revoke=(key_id(release.public_key),)), root)
    amnesty = signed(dataclasses.replace(third, version=4, revoked=()), root)
    with pytest.raises(TrustError, match="no longer revoked"):
        follow(third, amnesty, NOW)
    with pytest.raises(TrustError, match="no root key is left"):
        changed(first, NOW, revoke=tuple(first.root))
    with pytest.raises(TrustError, match="no key nonsense"):
        changed(first, NOW, revoke=("nonsense",))


def flip(data: bytes, bit: int) -> bytes:
    changed_bytes = bytearray(data)
    changed_bytes[bit // 8] ^= 1 << bit % 8
    return bytes(changed_bytes)


@settings(max_examples=200, deadline=None)
@given(bit=st.integers(0, 10**6))
def test_trust_file_with_any_bit_flipped_is_refused_or_says_the_same(bit: int) -> None:
    data = TRUST.to_bytes()
    try:
        found = check_trust(read_trust(flip(data, bit % (8 * len(data)))), NOW)
    except TrustError:
        return
    # Only white space and the case of hex digits carry no meaning.
    assert found.signed_bytes() == TRUST.signed_bytes()


def _some_trust() -> Trust:
    class Root:
        def __init__(self) -> None:
            from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

            self.key = Ed25519PrivateKey.from_private_bytes(bytes(32))
            self.public_key = self.key.public_key().public_bytes_raw()

        def sign(self, message: bytes) -> bytes:
            return self.key.sign(message)

    return first_trust(Root(), NOW)


TRUST = _some_trust()


def keys(*arguments: str) -> tuple[int, dict[str, object]]:
    done = RUNNER.invoke(app, ["keys", *arguments, "--json"])
    return done.exit_code, json.loads(done.stdout)


def test_commands_lead_from_root_to_revocation_and_keep_an_audit(tmp_path: Path) -> None:
    root, online = str(tmp_path / "root"), tmp_path / "online"
    assert keys("init", "--dir", root)[0] == 0
    assert keys("init", "--dir", root)[0] == 2
    code, facts = keys("release", "--dir", root, "-o", str(online))
    signer = FileSigner(Path(str(facts["release_key"])))
    old = (online / "trust.json").read_bytes()
    assert code == 0
    assert require_release(read_trust(old), signer, NOW) == key_id(signer.public_key)
    assert keys("rotate-root", "--dir", root)[0] == 0
    assert keys("revoke", key_id(signer.public_key), "--dir", root)[0] == 0
    assert keys("revoke", "0" * 16, "--dir", root)[0] == 1
    assert keys("renew", "--dir", root, "--days", "30")[0] == 0
    before = tmp_path / "before.json"
    before.write_bytes(old)
    assert keys("show", f"{root}/trust.json", "--before", str(before))[0] == 1, "two roots later"
    assert keys("show", f"{root}/trust.json")[1]["revoked"]
    code, facts = keys("audit", f"{root}/audit.jsonl")
    assert (code, facts["rows"]) == (0, 5)
    private = list(tmp_path.rglob("*.pem"))
    assert len(private) == 3
    assert all(stat.S_IMODE(p.stat().st_mode) == 0o600 for p in private)


@pytest.mark.parametrize("row", range(4))
@pytest.mark.parametrize("damage", ["change", "drop", "swap"])
def test_audit_damage_is_named_at_its_row(tmp_path: Path, row: int, damage: str) -> None:
    path = tmp_path / "audit.jsonl"
    for number in range(5):
        audit.append_line(path, "ann", "packet.sign", f"packet {number}", size=number)
    rows = audit.read_lines(path)
    assert audit.check_chain(rows) == 5
    if damage == "change":
        rows[row] = dataclasses.replace(rows[row], data={"size": 99})
    elif damage == "drop":
        del rows[row]
    else:
        rows[row], rows[row + 1] = rows[row + 1], rows[row]
    with pytest.raises(ConflictError, match=f"row {row + 1}"):
        audit.check_chain(rows)


def test_audit_whose_last_line_was_cut_short_goes_on(tmp_path: Path) -> None:
    """As a process that is killed in its write leaves it: what it was to tell of was not done."""
    path = tmp_path / "audit.jsonl"
    for number in range(2):
        audit.append_line(path, "ann", "packet.sign", f"packet {number}")
    whole = path.read_bytes()
    first = whole.index(b"\n") + 1
    for size in [0, 1, 9, first - 2, first, first + 1, first + 20, len(whole) - 2, len(whole) - 1]:
        path.write_bytes(whole[:size])
        rows = 1 if first - 1 <= size < len(whole) - 1 else 2 * (size >= len(whole) - 1)
        known = keys("audit", str(path))
        assert known[0] == 0 and known[1]["rows"] == rows, size
        cut = int(str(known[1]["unfinished_bytes"]))
        assert (cut > 0) == (size not in (0, first, len(whole) - 1)), size
        audit.append_line(path, "ann", "packet.sign", "next")
        assert audit.check_chain(audit.read_lines(path)) == rows + 1
        assert path.read_bytes().count(b"\n") == rows + 1
    path.write_text("no audit at all")
    assert keys("audit", str(path))[0] == 1
    path.write_bytes(whole[: first - 5] + b"\n" + whole[first:])
    assert keys("audit", str(path))[0] == 1, "a line before the last is not cut, but damaged"


def test_audit_of_two_writers_keeps_one_chain(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: audit.append_line(path, "ann", "act", str(n)), range(20)))
    assert audit.check_chain(audit.read_lines(path)) == 20


def test_audit_in_the_database_can_only_be_appended_to(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path / 'd.sqlite3'}")
    upgrade(engine)
    database = SqlDatabase(engine)
    with database.write() as unit:
        for number in range(3):
            audit.record(unit, "ann", "packet.sign", str(number), size=1.5)
    with database.read() as unit:
        rows = unit.fleet.audit.page(order="seq", after=None, limit=9)
    assert audit.check_chain(rows) == 3
    assert audit.check_chain(rows[1:], rows[0]) == 2
    for change in ("UPDATE fleet_audit SET actor = 'eve'", "DELETE FROM fleet_audit"):
        with pytest.raises(DatabaseError, match="append-only"), engine.begin() as connection:
            connection.exec_driver_sql(change)
    database.close()
