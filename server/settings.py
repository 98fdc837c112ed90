# SPDX-License-Identifier: Apache-2.0
"""Settings of the service: environment variables with the prefix HADAPT_, or arguments.

No setting is a secret, and none has a secret default.
"""

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

MIB = 1024 * 1024


class Settings(BaseSettings):
    """All settings; frozen. Units are in the names."""

    model_config = SettingsConfigDict(env_prefix="HADAPT_", frozen=True, extra="forbid")

    data_dir: Path = Field(default=Path("hadapt-data"), description="Folder of database and blobs.")
    database_url: str | None = Field(
        default=None, description="SQLAlchemy URL; None: SQLite in data_dir."
    )
    jobs_database_url: str | None = Field(default=None, description="Job engine's own database.")
    blob_url: str | None = Field(
        default=None, description="Object store URL; None: folder in data_dir."
    )
    host: str = Field(default="127.0.0.1", description="Address the API listens on.")
    port: int = Field(default=8600, ge=0, le=65535, description="TCP port; 0 takes a free one.")

    engine: str = Field(
        default="server.learning.engine:HadaptEngine",
        description="module:callable of the learning engine; called with these settings.",
    )
    worker: bool = Field(
        default=True, description="Whether `hadapt serve` runs a worker; else `hadapt worker` does."
    )
    executor_id: str = Field(default="worker-1", description="Stable name of the worker process.")
    job_concurrency: int = Field(default=1, ge=1, le=64, description="Jobs at once in one worker.")
    job_queue_limit: int = Field(
        default=1000, ge=1, description="Unfinished jobs accepted; then 429."
    )
    job_poll_interval_ms: int = Field(
        default=200, ge=10, description="How often queues are looked at."
    )
    job_max_recoveries: int = Field(
        default=50, ge=1, description="Restarts of one job before it fails."
    )
    job_chunk_steps: int = Field(
        default=64, ge=1, description="Training steps in one durable job step."
    )
    job_max_steps: int = Field(default=100_000, ge=1, description="Training steps in one update.")
    device_timeout_s: float = Field(
        default=120.0, gt=0, description="Time limit of one device exchange."
    )
    worker_backoff_max_s: float = Field(
        default=10.0, gt=0, description="Longest wait before a restart."
    )
    stop_grace_s: float = Field(
        default=5.0, ge=0, description="Wait for a worker to stop by itself."
    )

    upload_model_max_bytes: int = Field(default=32 * MIB, ge=1, description="ONNX file.")
    upload_calibration_max_bytes: int = Field(
        default=64 * MIB, ge=1, description="Calibration npz."
    )
    upload_samples_max_bytes: int = Field(
        default=16 * MIB, ge=1, description="Body of one sample upload."
    )
    upload_image_max_bytes: int = Field(default=16 * MIB, ge=1, description="Firmware binary.")
    upload_json_max_bytes: int = Field(default=1 * MIB, ge=1, description="Any other JSON body.")
    npz_max_bytes: int = Field(default=256 * MIB, ge=1, description="An npz's arrays, unpacked.")
    samples_max_rows: int = Field(default=20_000, ge=1, description="Samples in one upload.")
    page_max_items: int = Field(default=200, ge=1, description="Items in one page of a listing.")
    sse_poll_interval_ms: int = Field(
        default=200, ge=10, description="Pause between looks for events."
    )
    idempotency_keep_days: int = Field(default=7, ge=1, description="How long a key is remembered.")

    requests_at_once: int = Field(
        default=256, ge=8, description="Requests worked on at once in a process; then 429."
    )
    body_idle_s: float = Field(
        default=30.0, gt=0, description="Longest pause in a request's body; then 400."
    )
    disk_free_min_bytes: int = Field(
        default=256 * MIB, ge=0, description="Less free in data_dir, and the service is not ready."
    )
    session_hours: int = Field(default=12, ge=1, le=24 * 30, description="Life of a login.")
    rate_limit_per_minute: int = Field(
        default=6000, ge=1, description="Requests of one key, person or device; then 429."
    )
    rate_limit_unknown_per_minute: int = Field(
        default=120, ge=1, description="Requests of one address without valid credentials."
    )
    rate_limit_login_per_minute: int = Field(
        default=10, ge=1, description="Logins of one address, and of one name."
    )
    rate_limit_storage: str = Field(
        default="memory://",
        description="Where counts are kept (limits' URL); memory: each API process its own.",
    )
    trusted_proxies: str = Field(
        default="", description="Addresses whose X-Forwarded-For and -Proto count; none if empty."
    )
    vendor_domain: str = Field(
        default="hadapt.example", description="Names the vendor in packets: devices must agree."
    )
    trust_file: Path | None = Field(
        default=None, description="trust.json of `hadapt keys`; None: packets cannot be signed."
    )
    signer: str | None = Field(
        default=None, description="Release key: a file of mode 0600, or module:callable."
    )
    image_key_file: Path | None = Field(default=None, description="RSA key of swupdate images.")
    image_certificate_file: Path | None = Field(default=None, description="Its certificate.")
    image_install_path: str = Field(
        default="/var/lib/hadapt/packet.suit", description="Where swupdate puts a packet."
    )
    image_apply_command: str = Field(
        default="/usr/lib/hadapt/apply", description="What swupdate then runs with that path."
    )
    ddi_tenant: str = Field(default="DEFAULT", description="hawkBit tenant in device paths.")
    ddi_poll_interval_s: int = Field(default=300, ge=1, lt=86400, description="Asked of devices.")
    ddi_auto_register: bool = Field(
        default=False, description="Gateways may bring devices that nobody registered."
    )

    log_level: str = Field(default="INFO", description="DEBUG, INFO, WARNING or ERROR.")
    log_json: bool = Field(default=False, description="Log lines as JSON.")

    @property
    def app_database_url(self) -> str:
        """SQLAlchemy URL of the service's own database."""
        return self.database_url or f"sqlite:///{self.data_dir.absolute() / 'hadapt.sqlite3'}"

    @property
    def engine_database_url(self) -> str:
        """SQLAlchemy URL of the job engine's database: its own file, one writer each."""
        return self.jobs_database_url or f"sqlite:///{self.data_dir.absolute() / 'jobs.sqlite3'}"

    @property
    def blob_dir(self) -> Path:
        """Folder of the blobs, if no object store is named."""
        return self.data_dir.absolute() / "blobs"

    @property
    def cache_dir(self) -> Path:
        """Sources and builds; what is in use is made again if it is not there."""
        return self.data_dir.absolute() / "cache"

    @property
    def temporary_dir(self) -> Path:
        """Folder of unfinished uploads, on the same disk as the blobs."""
        return self.data_dir.absolute() / "tmp"
