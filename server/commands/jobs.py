# SPDX-License-Identifier: Apache-2.0
"""Commands for the jobs of a service that runs several workers."""

from typing import Annotated

import typer

from server.commands.access import DataDir, stored
from server.commands.console import AsJson, command, print_facts, print_json

app = typer.Typer(no_args_is_help=True, help="Jobs: adopt those of a worker that is gone; rebuild.")


@app.command("adopt")
def adopt_jobs(
    executor: Annotated[str, typer.Option(help="Executor id of the worker that is gone.")],
    force: Annotated[bool, typer.Option(help="Also if it was seen within 15 seconds.")] = False,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Give the jobs of a worker that will not return to the others; they go on where they were.

    Not needed for a worker that is started again under its own HADAPT_EXECUTOR_ID.

    \b
    Examples:
      hadapt jobs adopt --executor worker-2
    """
    with command(as_json), stored(data_dir) as context:
        from server.jobs.adopt import adopt

        jobs = adopt(context, executor, force=force)
        if as_json:
            print_json({"adopted": jobs})
        else:
            typer.echo(f"{len(jobs)} jobs given to the other workers")


@app.command("rebuild")
def rebuild(
    withdrawal: Annotated[str, typer.Argument(help="Id, as `POST /withdrawals` answered.")],
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Queue the update that makes a model anew without what was withdrawn; a worker runs it.

    \b
    Examples:
      hadapt jobs rebuild 01a21d0b09ce2face72cf3b4258033c8
    """
    with command(as_json), stored(data_dir) as context:
        from server.fleet.withdrawals import start_rebuild

        made = start_rebuild(context, withdrawal, "command")
        facts = {"update_id": made.id, "job_id": made.job_id, "base_version": made.base_version}
        print_json(facts) if as_json else print_facts("rebuild", facts)
