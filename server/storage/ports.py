# SPDX-License-Identifier: Apache-2.0
"""Ports of storage: blobs, and a unit of work over tables of records."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from server.storage import fleet as f
from server.storage import records as r

Record = TypeVar("Record")
# A value to compare with, or a sequence: any of these.
Where = str | int | bool | Sequence[str] | Sequence[int]


class BlobStore(Protocol):
    """Bytes named by their SHA-256 (lower-case hex). A stored blob never changes.

    Raises: StorageFullError from both puts; then nothing is stored.
    """

    def put(self, data: bytes) -> str:
        """Store; return the digest only once the bytes are durable."""

    def put_file(self, path: Path, sha256: str) -> None:
        """Store a file whose digest is known already."""

    def get(self, sha256: str) -> bytes:
        """Raises: NotFoundError."""

    def stream(self, sha256: str) -> Iterator[bytes]:
        """The blob in pieces. Raises: NotFoundError before the first piece."""

    def size_bytes(self, sha256: str) -> int:
        """Raises: NotFoundError."""

    def check(self) -> None:
        """Raises whatever is wrong with the store."""


class Rows(Protocol, Generic[Record]):
    """Records of one table. Conditions are column=value or column=(any, of, these)."""

    def add(self, record: Record) -> None:
        """Raises: ConflictError if a unique column is taken."""

    def find(self, **where: Where) -> Record | None:
        """The record, or None; conditions must name at most one record."""

    def page(
        self,
        *,
        order: str,
        after: str | int | None,
        limit: int,
        down: bool = False,
        **where: Where,
    ) -> list[Record]:
        """At most `limit` records in the order of a column, those beyond `after`."""

    def change(self, where: Mapping[str, Where], **values: Any) -> int:
        """Set columns; returns how many records were changed."""

    def count(self, **where: Where) -> int:
        """How many records there are."""

    def remove(self, *, before: Mapping[str, str]) -> int:
        """Delete records whose columns lie below the values; returns how many."""

    def delete(self, **where: Where) -> int:
        """Delete the records that match; returns how many."""


class SampleRows(Rows[r.SampleRecord], Protocol):
    """Samples, with what only they need."""

    def add_new(self, records: Iterable[r.SampleRecord]) -> int:
        """Add those whose content is not there yet; returns how many were."""

    def counts(self, model_id: str) -> list[tuple[int, str, int]]:
        """(class position, split, count) of a model's samples; costs the same for any number."""

    def total(self) -> int:
        """Samples of all models."""

    def last_seq(self, model_id: str) -> int:
        """The newest sequence number of a model, 0 without samples."""

    def select(
        self, model_id: str, last_seq: int, split: str, positions: Sequence[int]
    ) -> list[r.SampleRecord]:
        """Samples up to last_seq, by class position, then content: an order that repeats."""


class TotalRows(Rows[r.TotalRecord], Protocol):
    """Totals, counted up."""

    def bump(self, name: str, kind: str, state: str, seconds: float = 0.0) -> None:
        """One more."""


class MemberRows(Rows[f.MemberRecord], Protocol):
    """Devices of rollouts, counted where they are stored."""

    def by_stage(self, rollout_id: str) -> list[tuple[int, str, int]]:
        """(stage, state, count)."""

    def sums(self, rollout_id: str, stage: int, states: tuple[str, ...]) -> tuple[Any, ...]:
        """Means over those up to a stage in some states: accuracy, its fall, forgetting."""

    def count_seen(
        self, rollout_id: str, stage: int, states: tuple[str, ...], seen_s: tuple[float, float]
    ) -> int:
        """Those up to a stage in some states that were last seen within a span of time."""


class TargetRows(Rows[f.TargetRecord], Protocol):
    """Devices that pull updates."""

    def by_sight(self, since_s: float) -> dict[str, int]:
        """Counts: seen since then, silent longer, never seen."""


@dataclass(frozen=True)
class FleetRows:
    """The fleet's tables within one transaction."""

    audit: Rows[f.AuditRecord]
    packets: Rows[f.PacketRecord]
    artifacts: Rows[f.ArtifactRecord]
    targets: TargetRows
    gateways: Rows[f.GatewayRecord]
    actions: Rows[f.ActionRecord]
    rollouts: Rows[f.RolloutRecord]
    members: MemberRows
    learning: Rows[f.LearningRecord]
    withdrawals: Rows[f.WithdrawalRecord]


class Unit(Protocol):
    """One transaction: all of it is stored, or nothing."""

    jobs: Rows[r.JobRecord]
    job_events: Rows[r.JobEventRecord]
    models: Rows[r.ModelRecord]
    classes: Rows[r.ClassRecord]
    versions: Rows[r.VersionRecord]
    devices: Rows[r.DeviceRecord]
    samples: SampleRows
    updates: Rows[r.UpdateRecord]
    firmware: Rows[r.FirmwareRecord]
    device_tests: Rows[r.DeviceTestRecord]
    reports: Rows[r.ReportRecord]
    report_requests: Rows[r.ReportRequestRecord]
    idempotency: Rows[r.IdempotencyRecord]
    workers: Rows[r.WorkerRecord]
    totals: TotalRows
    fleet: FleetRows
    api_keys: Rows[r.ApiKeyRecord]
    users: Rows[r.UserRecord]
    sessions: Rows[r.SessionRecord]


class Database(Protocol):
    """Where units of work come from."""

    def write(self) -> AbstractContextManager[Unit]:
        """A unit that is durable when the block ends without an error.

        Raises: StorageFullError, ConflictError.
        """

    def read(self) -> AbstractContextManager[Unit]:
        """A consistent view; nothing may be changed."""

    def check(self) -> None:
        """Raises whatever is wrong with the database."""

    def close(self) -> None:
        """Give connections back."""
