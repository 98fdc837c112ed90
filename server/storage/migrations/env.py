# SPDX-License-Identifier: Apache-2.0
"""Alembic's entry: migrate over the engine that server.storage.migrate hands in."""

from alembic import context

from server.storage.tables import metadata

with context.config.attributes["engine"].connect() as connection:
    # Batch mode rebuilds tables where SQLite cannot alter them; PostgreSQL alters in place.
    context.configure(
        connection=connection,
        target_metadata=metadata,
        render_as_batch=True,
        compare_type=True,
    )
    with context.begin_transaction():
        context.run_migrations()
    connection.commit()
