# SPDX-License-Identifier: Apache-2.0
"""What costs must not grow with: counts of samples beside them, indexes of listings."""

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

INDEXES = (
    ("jobs", "ix_jobs_state_id", ["state", "id"]),
    ("targets", "ix_targets_model_id_controller_id", ["model_id", "controller_id"]),
    ("packets", "ix_packets_model_id_id", ["model_id", "id"]),
    ("packets", "ix_packets_model_id_base_version_id", ["model_id", "base_version", "id"]),
    ("rollouts", "ix_rollouts_packet_id", ["packet_id"]),
    ("rollouts", "ix_rollouts_model_id_state", ["model_id", "state"]),
    ("rollouts", "ix_rollouts_state", ["state"]),
    (
        "rollout_members",
        "ix_rollout_members_controller_id_rollout_id",
        ["controller_id", "rollout_id"],
    ),
    (
        "rollout_members",
        "ix_rollout_members_rollout_id_stage_state",
        ["rollout_id", "stage", "state"],
    ),
)
# Indexes that the new ones begin with.
REPLACED = (("targets", "model_id"), ("rollout_members", "controller_id"))
COUNT = """INSERT INTO sample_counts (model_id, class_position, split, count)
SELECT model_id, class_position, split, count(*) FROM samples
GROUP BY model_id, class_position, split"""


def ended_jobs(connection: sa.Connection) -> list[dict[str, Any]]:
    """Totals of the jobs that have ended so far."""
    jobs = sa.table("jobs", *map(sa.column, ("kind", "state", "started_at", "finished_at")))
    found: dict[tuple[str, str], list[float]] = {}
    query = sa.select(jobs).where(jobs.c.finished_at.is_not(None))
    for kind, state, began, ended in connection.execute(query):
        span = datetime.fromisoformat(ended) - datetime.fromisoformat(began or ended)
        found.setdefault((kind, state), []).append(span.total_seconds())
    return [
        {"name": "job", "kind": kind, "state": state, "count": len(all_s), "seconds": sum(all_s)}
        for (kind, state), all_s in found.items()
    ]


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "sample_counts",
        sa.Column("model_id", sa.String(length=32), nullable=False),
        sa.Column("class_position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("split", sa.String(length=8), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["model_id"], ["models.id"], name=op.f("fk_sample_counts_model_id")
        ),
        sa.PrimaryKeyConstraint(
            "model_id", "class_position", "split", name=op.f("pk_sample_counts")
        ),
    )
    op.execute(COUNT)
    totals = op.create_table(
        "totals",
        sa.Column("name", sa.String(length=20), nullable=False),
        sa.Column("kind", sa.String(length=40), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("name", "kind", "state", name=op.f("pk_totals")),
    )
    assert totals is not None
    op.bulk_insert(totals, ended_jobs(op.get_bind()))
    for table, name, columns in INDEXES:
        op.create_index(name, table, columns, unique=False)
    for table, column in REPLACED:
        op.drop_index(f"ix_{table}_{column}", table)


def downgrade() -> None:
    """Take back."""
    for table, column in REPLACED:
        op.create_index(f"ix_{table}_{column}", table, [column], unique=False)
    for table, name, _ in INDEXES:
        op.drop_index(name, table)
    op.drop_table("totals")
    op.drop_table("sample_counts")
