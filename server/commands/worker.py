# SPDX-License-Identifier: Apache-2.0
"""The command that runs a worker without the API, or asks whether one is alive."""

from typing import Annotated

import typer

from server.commands.console import FAILED, command, say
from server.services.workers import SILENCE_S, silence_s
from server.settings import Settings


def worker(
    check: Annotated[
        bool, typer.Option("--check", help="Only say whether this executor's worker is alive.")
    ] = False,
) -> None:
    """Run a worker alone, for an API that was started with HADAPT_WORKER=false.

    Needs HADAPT_DATABASE_URL, HADAPT_JOBS_DATABASE_URL and HADAPT_BLOB_URL of the service, and a
    HADAPT_EXECUTOR_ID of its own that stays the same over restarts. With --check, exit code 1 if
    the worker of that name was not seen within 15 seconds.

    \b
    Examples:
      HADAPT_EXECUTOR_ID=worker-2 hadapt worker
      HADAPT_EXECUTOR_ID=worker-2 hadapt worker --check
    """
    with command(as_json=False):
        settings = Settings()
        if not check:
            from server.serve import work

            work(settings)
            return
        silent_s = _silence_s(settings)
        name = settings.executor_id
        if silent_s is None:
            say(f"worker {name} was never seen")
        else:
            say(f"worker {name} was seen {silent_s:.0f} s ago")
        if silent_s is None or silent_s > SILENCE_S:
            raise typer.Exit(FAILED)


def _silence_s(settings: Settings) -> float | None:
    from server.storage.database import SqlDatabase, open_engine

    database = SqlDatabase(open_engine(settings.app_database_url))
    try:
        with database.read() as unit:
            found = unit.workers.find(executor_id=settings.executor_id)
    finally:
        database.close()
    return None if found is None else silence_s(found.seen_at)
