# SPDX-License-Identifier: Apache-2.0
"""Firmware images, packets that carry them, and which firmware a device runs."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

INDEX = "ix_packets_base_firmware_id_id"
FIRMWARE_COLUMNS = (("packets", "firmware_id"), ("packets", "base_firmware_id"))
TARGET_COLUMN = ("targets", "firmware_id")


def _refer(table: str, column: str) -> None:
    with op.batch_alter_table(table, schema=None) as batch_op:
        batch_op.add_column(sa.Column(column, sa.String(length=32), nullable=True))
        batch_op.create_foreign_key(op.f(f"fk_{table}_{column}"), "firmware", [column], ["id"])


def _forget(table: str, column: str) -> None:
    with op.batch_alter_table(table, schema=None) as batch_op:
        batch_op.drop_constraint(op.f(f"fk_{table}_{column}"), type_="foreignkey")
        batch_op.drop_column(column)


def upgrade() -> None:
    """Apply."""
    op.add_column("firmware", sa.Column("image_sha256", sa.String(length=64), nullable=True))
    op.add_column("firmware", sa.Column("image_bytes", sa.BigInteger(), nullable=True))
    kind = sa.Column("kind", sa.String(length=20), nullable=False, server_default="weights")
    op.add_column("packets", kind)
    with op.batch_alter_table("packets", schema=None) as batch_op:
        batch_op.alter_column("kind", server_default=None)
    for table, column in (*FIRMWARE_COLUMNS, TARGET_COLUMN):
        _refer(table, column)
    op.create_index(INDEX, "packets", ["base_firmware_id", "id"], unique=False)


def downgrade() -> None:
    """Take back."""
    op.drop_index(INDEX, "packets")
    for table, column in (*FIRMWARE_COLUMNS, TARGET_COLUMN):
        _forget(table, column)
    op.drop_column("packets", "kind")
    op.drop_column("firmware", "image_bytes")
    op.drop_column("firmware", "image_sha256")
