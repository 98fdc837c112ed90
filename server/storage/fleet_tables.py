# SPDX-License-Identifier: Apache-2.0
"""Tables of the fleet, in the metadata of server.storage.tables."""

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    UniqueConstraint,
)

from server.storage.tables import Id, Sequence, Sha, Time, metadata

Name = String(200)


def _text(name: str, size: int = 40) -> Column[str]:
    return Column(name, String(size), nullable=False)


def _json(name: str) -> Column[object]:
    return Column(name, JSON, nullable=False)


def _ref(name: str, target: str, kind: String = Id, *, null: bool = False) -> Column[str]:
    return Column(name, kind, ForeignKey(target), nullable=null)


def _number(name: str) -> Column[int]:
    return Column(name, Integer, nullable=False)


audit = Table(
    "fleet_audit",
    metadata,
    Column("seq", Sequence, primary_key=True, autoincrement=False),
    _text("created_at", 27),
    _text("actor", 200),
    _text("action"),
    _text("subject", 200),
    _json("data"),
    _text("previous_sha256", 64),
    _text("row_sha256", 64),
)
packets = Table(
    "packets",
    metadata,
    Column("id", Id, primary_key=True),
    _ref("model_id", "models.id"),
    _text("created_at", 27),
    _number("base_version"),
    _number("version"),
    _number("sequence"),
    _text("counterpart", 32),
    _text("key_id"),
    _text("envelope_sha256", 64),
    _number("size_bytes"),
    _text("base_digest", 64),
    _text("result_digest", 64),
    _json("report"),
    _text("kind", 20),
    _ref("firmware_id", "firmware.id", null=True),
    _ref("base_firmware_id", "firmware.id", null=True),
    UniqueConstraint("model_id", "sequence"),
    Index("ix_packets_base_firmware_id_id", "base_firmware_id", "id"),
    Index("ix_packets_model_id_id", "model_id", "id"),
    Index("ix_packets_model_id_base_version_id", "model_id", "base_version", "id"),
)
artifacts = Table(
    "artifacts",
    metadata,
    Column("number", Sequence, primary_key=True, autoincrement=True),
    _ref("packet_id", "packets.id"),
    _text("form", 20),
    _text("file_name", 80),
    _number("size_bytes"),
    _text("md5"),
    _text("sha1"),
    _text("sha256", 64),
    _text("created_at", 27),
    UniqueConstraint("packet_id", "form"),
)
targets = Table(
    "targets",
    metadata,
    Column("controller_id", Name, primary_key=True),
    _text("created_at", 27),
    _text("form", 20),
    _text("token_sha256", 64),
    _ref("model_id", "models.id", null=True),
    _ref("device_id", "devices.id", null=True),
    _number("version"),
    Column("state_hash", Sha),
    _json("attributes"),
    Column("polled_s", Float, nullable=False),
    _ref("firmware_id", "firmware.id", null=True),
    Index("ix_targets_model_id_controller_id", "model_id", "controller_id"),
)
gateways = Table(
    "gateways",
    metadata,
    Column("id", Id, primary_key=True),
    _text("name", 200),
    _text("created_at", 27),
    Column("token_sha256", Sha, nullable=False, unique=True),
    Column("revoked", Boolean, nullable=False),
)
actions = Table(
    "actions",
    metadata,
    Column("number", Sequence, primary_key=True, autoincrement=True),
    _ref("controller_id", "targets.controller_id", Name),
    _ref("packet_id", "packets.id"),
    _text("rollout_id", 32),
    _text("state", 20),
    _text("created_at", 27),
    Column("closed_at", Time),
    _json("messages"),
    _json("metrics"),
    Index("ix_actions_controller_id_state", "controller_id", "state"),
)
rollouts = Table(
    "rollouts",
    metadata,
    Column("id", Id, primary_key=True),
    _ref("model_id", "models.id"),
    _ref("packet_id", "packets.id"),
    _text("created_at", 27),
    _json("spec"),
    _text("state", 20),
    _number("stage"),
    Column("since_s", Float, nullable=False),
    _json("reasons"),
    Index("ix_rollouts_model_id_id", "model_id", "id"),
    Index("ix_rollouts_packet_id", "packet_id"),
    Index("ix_rollouts_model_id_state", "model_id", "state"),
    Index("ix_rollouts_state", "state"),
)
members = Table(
    "rollout_members",
    metadata,
    Column("rollout_id", Id, ForeignKey("rollouts.id"), primary_key=True),
    Column("controller_id", Name, ForeignKey("targets.controller_id"), primary_key=True),
    _number("stage"),
    _text("state", 20),
    Column("accuracy_before", Float),
    Column("accuracy_after", Float),
    Column("forgetting", Float),
    Column("seen_s", Float, nullable=False),
    Index("ix_rollout_members_controller_id_rollout_id", "controller_id", "rollout_id"),
    Index("ix_rollout_members_rollout_id_stage_state", "rollout_id", "stage", "state"),
)
learning = Table(
    "learning_reports",
    metadata,
    Column("seq", Sequence, primary_key=True, autoincrement=True),
    _ref("controller_id", "targets.controller_id", Name),
    _text("created_at", 27),
    _text("state_hash", 64),
    _json("metrics"),
    _json("log"),
    Index("ix_learning_reports_controller_id_seq", "controller_id", "seq"),
)
withdrawals = Table(
    "withdrawals",
    metadata,
    Column("id", Id, primary_key=True),
    _ref("model_id", "models.id"),
    _text("created_at", 27),
    _text("kind", 20),
    _text("subject", 200),
    _number("rebuild_from"),
    _number("samples"),
    Index("ix_withdrawals_model_id_id", "model_id", "id"),
)
