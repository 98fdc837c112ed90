# SPDX-License-Identifier: Apache-2.0
"""Tables of the service's database; only types and constraints that SQLite and PostgreSQL share."""

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    UniqueConstraint,
)

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "pk": "pk_%(table_name)s",
}
metadata = MetaData(naming_convention=NAMING)

Id = String(32)
Sha = String(64)
Time = String(27)
# SQLite numbers rows by itself only in a column declared INTEGER.
Sequence = BigInteger().with_variant(Integer, "sqlite")


def _text(name: str, size: int = 200, *, null: bool = False) -> Column[str]:
    return Column(name, String(size), nullable=null)


def _model() -> Column[str]:
    return Column("model_id", Id, ForeignKey("models.id"), nullable=False)


def _job() -> Column[str]:
    return Column("job_id", Id, ForeignKey("jobs.id"), nullable=False)


def _created() -> Column[str]:
    return Column("created_at", Time, nullable=False)


jobs = Table(
    "jobs",
    metadata,
    Column("id", Id, primary_key=True),
    _text("kind", 40),
    Column("subject_id", Id, nullable=False),
    _text("state", 20),
    _created(),
    Column("started_at", Time),
    Column("finished_at", Time),
    Column("progress", JSON, nullable=False),
    Column("error", JSON(none_as_null=True)),
    Column("dispatched", Boolean, nullable=False),
    Index("ix_jobs_state_dispatched", "state", "dispatched"),
    Index("ix_jobs_state_id", "state", "id"),
)
job_events = Table(
    "job_events",
    metadata,
    Column("seq", Sequence, primary_key=True, autoincrement=True),
    _job(),
    _text("key", 80),
    _text("kind", 20),
    Column("data", JSON, nullable=False),
    _created(),
    UniqueConstraint("job_id", "key"),
    Index("ix_job_events_job_id_seq", "job_id", "seq"),
)
models = Table(
    "models",
    metadata,
    Column("id", Id, primary_key=True),
    _text("name"),
    _created(),
    _job(),
    Column("onnx_sha256", Sha, nullable=False),
    Column("calibration_sha256", Sha, nullable=False),
    Column("feature_count", Integer, nullable=False),
    Column("base_class_count", Integer, nullable=False),
    Column("summary", JSON, nullable=False),
    Column("options", JSON, nullable=False),
    Column("int_model_sha256", Sha),
    Column("max_classes", Integer),
    Column("feature_min", Float),
    Column("feature_max", Float),
    Column("report", JSON(none_as_null=True)),
)
classes = Table(
    "classes",
    metadata,
    Column("model_id", Id, ForeignKey("models.id"), primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    _text("name"),
    UniqueConstraint("model_id", "name"),
)
versions = Table(
    "versions",
    metadata,
    Column("model_id", Id, ForeignKey("models.id"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    _created(),
    Column("parent", Integer),
    Column("update_id", Id),
    Column("classes", JSON, nullable=False),
    Column("tasks", JSON, nullable=False),
    Column("accuracy", JSON, nullable=False),
    Column("learner_sha256", Sha, nullable=False),
    Column("state_sha256", Sha, nullable=False),
    Column("state_hash", Sha, nullable=False),
    Column("report", JSON, nullable=False),
)
devices = Table(
    "devices",
    metadata,
    Column("id", Id, primary_key=True),
    Column("name", String(200), nullable=False, unique=True),
    _model(),
    _text("board", 60),
    _created(),
)
samples = Table(
    "samples",
    metadata,
    Column("seq", Sequence, primary_key=True, autoincrement=True),
    _model(),
    Column("content_sha256", Sha, nullable=False),
    Column("class_position", Integer, nullable=False),
    _text("split", 8),
    Column("features", LargeBinary, nullable=False),
    _created(),
    Column("device_id", Id, ForeignKey("devices.id")),
    UniqueConstraint("model_id", "content_sha256"),
    Index("ix_samples_model_id_seq", "model_id", "seq"),
    Index("ix_samples_device_id_seq", "device_id", "seq"),
    Index(
        "ix_samples_model_id_class_position_split",
        "model_id",
        "class_position",
        "split",
    ),
)
# Kept beside the samples, in their transactions: counting them all would cost more with each.
sample_counts = Table(
    "sample_counts",
    metadata,
    Column("model_id", Id, ForeignKey("models.id"), primary_key=True),
    Column("class_position", Integer, primary_key=True, autoincrement=False),
    Column("split", String(8), primary_key=True),
    Column("count", BigInteger, nullable=False),
)
updates = Table(
    "updates",
    metadata,
    Column("id", Id, primary_key=True),
    _model(),
    _job(),
    _created(),
    Column("base_version", Integer, nullable=False),
    _text("method", 20),
    Column("spec", JSON, nullable=False),
    Column("last_seq", BigInteger, nullable=False),
    Column("version", Integer),
    Column("result", JSON(none_as_null=True)),
    Index("ix_updates_model_id_id", "model_id", "id"),
)
firmware = Table(
    "firmware",
    metadata,
    Column("id", Id, primary_key=True),
    _model(),
    Column("version", Integer, nullable=False),
    _text("board", 60),
    _text("layout", 40),
    _job(),
    _created(),
    Column("zip_sha256", Sha),
    Column("zip_bytes", BigInteger),
    Column("image_sha256", Sha),
    Column("image_bytes", BigInteger),
    Index("ix_firmware_model_id_id", "model_id", "id"),
)
device_tests = Table(
    "device_tests",
    metadata,
    Column("id", Id, primary_key=True),
    _model(),
    Column("version", Integer, nullable=False),
    _job(),
    _created(),
    Column("spec", JSON, nullable=False),
    Column("results", JSON, nullable=False),
    Index("ix_device_tests_model_id_id", "model_id", "id"),
)
reports = Table(
    "reports",
    metadata,
    Column("model_id", Id, ForeignKey("models.id"), primary_key=True),
    Column("board", String(60), primary_key=True),
    _job(),
    _created(),
    Column("report", JSON(none_as_null=True)),
    Column("error", JSON(none_as_null=True)),
)
report_requests = Table(
    "report_requests",
    metadata,
    Column("id", Id, primary_key=True),
    _model(),
    _job(),
    _created(),
    Column("boards", JSON, nullable=False),
)
# What has ended, counted when it ends: figures for Prometheus that cost the same for any history.
totals = Table(
    "totals",
    metadata,
    Column("name", String(20), primary_key=True),
    Column("kind", String(40), primary_key=True),
    Column("state", String(20), primary_key=True),
    Column("count", BigInteger, nullable=False),
    Column("seconds", Float, nullable=False),
)
idempotency = Table(
    "idempotency",
    metadata,
    Column("scope", String(200), primary_key=True),
    Column("key", String(200), primary_key=True),
    Column("fingerprint", Sha, nullable=False),
    _created(),
    Column("status", Integer, nullable=False),
    Column("body", JSON, nullable=False),
    Index("ix_idempotency_created_at", "created_at"),
)
workers = Table(
    "workers",
    metadata,
    Column("executor_id", String(200), primary_key=True),
    Column("pid", Integer, nullable=False),
    Column("seen_at", Float, nullable=False),
)
api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Id, primary_key=True),
    _text("name"),
    Column("prefix", String(16), nullable=False, unique=True),
    Column("sha256", Sha, nullable=False),
    Column("scopes", JSON, nullable=False),
    _created(),
    Column("expires_at", Time),
    Column("revoked_at", Time),
)
users = Table(
    "users",
    metadata,
    Column("id", Id, primary_key=True),
    Column("name", String(200), nullable=False, unique=True),
    Column("password_hash", String(200), nullable=False),
    Column("scopes", JSON, nullable=False),
    _created(),
    Column("disabled_at", Time),
)
sessions = Table(
    "sessions",
    metadata,
    Column("sha256", Sha, primary_key=True),
    Column("user_id", Id, ForeignKey("users.id"), nullable=False),
    _created(),
    Column("expires_at", Time, nullable=False),
    Index("ix_sessions_user_id", "user_id"),
    Index("ix_sessions_expires_at", "expires_at"),
)
