# SPDX-License-Identifier: Apache-2.0
"""Schema migrations, run by Alembic from the package's own folder."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, text

LOCK = 0x4841
FOLDER = Path(__file__).parent / "migrations"


def _config(engine: Engine | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(FOLDER))
    config.attributes["engine"] = engine
    return config


def known_revisions() -> list[str]:
    """Revisions that this version knows, the newest first."""
    return [found.revision for found in ScriptDirectory.from_config(_config()).walk_revisions()]


def current_revision(connection: Connection) -> str | None:
    """The revision of a database; None if it was never migrated."""
    return MigrationContext.configure(connection).get_current_revision()


def upgrade(engine: Engine, revision: str = "head") -> None:
    """Bring the schema up to a revision; one process at a time."""
    with _alone(engine):
        command.upgrade(_config(engine), revision)


@contextmanager
def _alone(engine: Engine) -> Iterator[None]:
    """Processes of other machines wait. SQLite's file has one machine, which locks a file."""
    if engine.dialect.name != "postgresql":
        yield
        return
    with engine.connect() as connection:
        connection.execute(text(f"SELECT pg_advisory_lock({LOCK})"))
        try:
            yield
        finally:
            connection.execute(text(f"SELECT pg_advisory_unlock({LOCK})"))


def downgrade(engine: Engine, revision: str) -> None:
    """Take the schema down to a revision; "base" is the empty database."""
    command.downgrade(_config(engine), revision)
