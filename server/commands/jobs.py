# SPDX-License-Identifier: Apache-2.0
"""Commands for the jobs of a service that runs several workers."""

from typing import Annotated

import typer

from server.commands.access import DataDir, stored
from server.commands.console import AsJson, command, print_json

app = typer.Typer(no_args_is_help=True, help="Jobs: adopt those of a worker that is gone.")


@app.callback()
def _group() -> None:
    """Keeps `adopt` a subcommand while it is the only one."""


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
