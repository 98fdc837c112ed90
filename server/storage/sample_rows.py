# SPDX-License-Identifier: Apache-2.0
"""Samples, and their counts beside them."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from server.errors import ConflictError
from server.storage import records as r
from server.storage import tables as t
from server.storage.ports import Where
from server.storage.rows import TableRows, lock_sequence, values_of

BATCH_ROWS = 500


class TableSamples(TableRows[r.SampleRecord]):
    """Samples and their counts; see ports.SampleRows."""

    def add_new(self, records: Iterable[r.SampleRecord]) -> int:
        """Insert what is new.

        A concurrent upload of the same sample is caught by the unique constraint: ConflictError,
        and the caller repeats its transaction.
        """
        fresh = list({record.content_sha256: record for record in records}.values())
        added: Counter[tuple[int, str]] = Counter()
        if fresh:
            lock_sequence(self._connection, fresh[0].model_id)
        for start in range(0, len(fresh), BATCH_ROWS):
            added.update(self._add_batch(fresh[start : start + BATCH_ROWS]))
        for (position, split), count in added.items():
            self._count(fresh[0].model_id, position, split, count)
        return sum(added.values())

    def _add_batch(self, batch: Sequence[r.SampleRecord]) -> Counter[tuple[int, str]]:
        digests = [record.content_sha256 for record in batch]
        query = select(self._table.c.content_sha256).where(
            self._table.c.model_id == batch[0].model_id,
            self._table.c.content_sha256.in_(digests),
        )
        known = set(self._connection.scalars(query))
        new = [record for record in batch if record.content_sha256 not in known]
        if new:
            try:
                self._connection.execute(insert(self._table), [values_of(record) for record in new])
            except IntegrityError as error:
                raise ConflictError(
                    "The same sample is being stored by another request."
                ) from error
        return Counter((record.class_position, record.split) for record in new)

    def _count(self, model_id: str, position: int, split: str, added: int) -> None:
        c = t.sample_counts.c
        key = (c.model_id == model_id, c.class_position == position, c.split == split)
        more = update(t.sample_counts).where(*key).values(count=c["count"] + added)
        if not self._connection.execute(more).rowcount:
            row = {"class_position": position, "split": split, "count": added}
            self._connection.execute(insert(t.sample_counts).values(model_id=model_id, **row))

    def change(self, where: Mapping[str, Where], **values: Any) -> int:
        """Set columns of samples of one model, and count them anew. This is rare: withdrawals."""
        model_id = str(where["model_id"])
        lock_sequence(self._connection, model_id)
        changed = super().change(where, **values)
        if changed:
            c, counts = self._table.c, t.sample_counts
            key = (c.model_id, c.class_position, c.split)
            found = select(*key, func.count()).where(c.model_id == model_id).group_by(*key)
            self._connection.execute(delete(counts).where(counts.c.model_id == model_id))
            columns = ["model_id", "class_position", "split", "count"]
            self._connection.execute(insert(counts).from_select(columns, found))
        return changed

    def counts(self, model_id: str) -> list[tuple[int, str, int]]:
        """(class position, split, count)."""
        c = t.sample_counts.c
        query = select(c.class_position, c.split, c["count"]).where(c.model_id == model_id)
        return [(int(p), str(s), int(n)) for p, s, n in self._connection.execute(query)]

    def total(self) -> int:
        """Samples of all models."""
        return int(self._connection.scalar(select(func.sum(t.sample_counts.c["count"]))) or 0)

    def last_seq(self, model_id: str) -> int:
        """Newest sequence number, 0 without samples."""
        query = select(func.max(self._table.c.seq)).where(self._table.c.model_id == model_id)
        return int(self._connection.scalar(query) or 0)

    def select(
        self, model_id: str, last_seq: int, split: str, positions: Sequence[int]
    ) -> list[r.SampleRecord]:
        """Samples in an order that depends on their content alone."""
        c = self._table.c
        query = (
            select(self._table)
            .where(c.model_id == model_id, c.seq <= last_seq, c.split == split)
            .where(c.class_position.in_(positions))
            .order_by(c.class_position, c.content_sha256)
        )
        return [self._kind(**row) for row in self._connection.execute(query).mappings()]
