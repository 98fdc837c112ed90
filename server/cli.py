# SPDX-License-Identifier: Apache-2.0
"""The hadapt command. Everything but `serve` works locally, without a server."""

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any

import typer

from server.commands import (
    access,
    backup,
    device,
    devices,
    doctor,
    explain,
    jobs,
    keys,
    learning,
    models,
    planning,
    untrained,
    worker,
)
from server.commands.console import command, wrong
from server.settings import Settings

EPILOG = (
    "Exit codes: 0 done; 1 tried and failed, or a check came out wrong; 2 called wrongly. "
    "Results go to stdout, progress and errors to stderr. NO_COLOR switches colours off."
)

app = typer.Typer(
    name="hadapt",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("import", epilog=EPILOG)(models.import_model)
app.command(epilog=EPILOG)(untrained.init)
app.command(epilog=EPILOG)(models.quantize)
app.command(epilog=EPILOG)(planning.plan)
app.command(epilog=EPILOG)(devices.generate)
app.command(epilog=EPILOG)(devices.emulate)
app.command(epilog=EPILOG)(learning.learn)
app.command(epilog=EPILOG)(models.report)
app.command(epilog=EPILOG)(models.export)
app.command(epilog=EPILOG)(explain.explain)
app.command(epilog=EPILOG)(explain.diff)
app.command(epilog=EPILOG)(devices.boards)
app.command(epilog=EPILOG)(doctor.doctor)
app.command(epilog=EPILOG)(worker.worker)
app.command(epilog=EPILOG)(backup.backup)
app.command(epilog=EPILOG)(backup.restore)
app.add_typer(keys.app, name="keys")
app.add_typer(access.keys_app, name="api-keys")
app.add_typer(access.users_app, name="users")
app.add_typer(device.app, name="device")
app.add_typer(jobs.app, name="jobs")


def _version(value: bool) -> None:
    if value:
        typer.echo(f"hadapt {installed_version()}")
        raise typer.Exit


def installed_version() -> str:
    """Version of the installed distribution; "unknown" when run from a bare source tree."""
    try:
        return version("hadapt")
    except PackageNotFoundError:
        return "unknown"


@app.callback()
def main_options(
    show: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Let a microcontroller learn new classes: ONNX in, integer-only C out, proved bit for bit.

    \b
    A first tour:
      hadapt import digits.onnx
      hadapt quantize digits.onnx --data calib.npz -o m.hadapt
      hadapt report m.hadapt
      hadapt emulate m.hadapt --board mps2-an386 --data test.npz
      hadapt learn m.hadapt --data new.npz -o m2.hadapt
      hadapt generate m2.hadapt --board mps2-an386 -o fw.zip
    """


@app.command(epilog=EPILOG)
def serve(
    data_dir: Annotated[
        Path | None, typer.Option(help="Folder of database and blobs [HADAPT_DATA_DIR].")
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on [HADAPT_HOST].")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port [HADAPT_PORT].")] = None,
) -> None:
    """Start the REST service and its worker; Ctrl-C ends both.

    Needs nothing else: SQLite and a folder. The first start shows a key that may do everything,
    once; clients read it from HADAPT_API_KEY. The API's description is at /docs. Each
    setting has an environment variable HADAPT_<NAME>; options win over variables, variables over
    defaults.

    \b
    Examples:
      hadapt serve
      hadapt serve --data-dir /var/lib/hadapt --host 0.0.0.0 --port 8600
    """
    with command(as_json=False):
        if data_dir is not None and data_dir.exists() and not data_dir.is_dir():
            raise wrong(f"{data_dir} is a file", "--data-dir", "a folder, or a name not taken")
        given = {"data_dir": data_dir, "host": host, "port": port}
        _serve({name: value for name, value in given.items() if value is not None})


def _serve(options: dict[str, Any]) -> None:
    # The service needs packages that the local commands do not: only now are they loaded.
    from server.serve import serve as run

    run(Settings(**options))


def main() -> None:
    """Entry point of the distribution."""
    app(prog_name="hadapt")


if __name__ == "__main__":
    main()
