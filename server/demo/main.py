# SPDX-License-Identifier: Apache-2.0
"""The command python -m server.demo: its options, and the run over all data sets."""

import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from device.harness.boards import BOARDS
from device.harness.errors import HarnessError
from server.api import schemas as s
from server.demo.clock import Clock
from server.demo.fielded import FirmwareChangedError
from server.demo.plan import make_plan
from server.demo.report import render
from server.demo.results import FORMAT, write
from server.demo.service import Service, ServiceError
from server.demo.session import Run
from server.demo.stream import run_dataset
from server.demo.tables import print_tables
from server.errors import HadaptError
from server.learning.datasets import DIGITS, Dataset, DatasetError, available, data_folder, load

MAX_FEATURES = 1000
# Without --data: no further set is begun after this time, so that the demo ends within 4 minutes.
LAST_START_S = 110.0
Json = dict[str, Any]


def demo(
    data: Annotated[
        list[str] | None,
        typer.Option(
            "--data", help="Data set; again for more. If left out: digits, then what fits."
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for demo.json and report.html.")] = Path("out"),
    boards: Annotated[
        list[str] | None, typer.Option("--boards", help="Board to test; again for more; all.")
    ] = None,
    quick: Annotated[bool, typer.Option(help="Fewer steps and rows.")] = False,
) -> None:
    """Run the main job on real data through the REST service; tables, demo.json, report.html.

    scikit-learn's digits by default; HADAPT_DATA=<folder of npz files> adds those sets, the
    smallest first and in quick form, as far as 4 minutes allow; --data NAME runs one in full.

    \b
    Examples:
      python -m server.demo
      python -m server.demo --quick --boards mps2-an386 --boards microbit
      HADAPT_DATA=~/data python -m server.demo --data dsads_405
    """
    clock = Clock()
    try:
        _check_boards(boards or [])
        datasets = _datasets(data, clock)
        document = run(clock, datasets, boards, out, quick, in_time=not data)
    except (HadaptError, DatasetError, ServiceError) as error:
        clock.say(f"error: {error}")
        raise typer.Exit(1) from error
    except KeyboardInterrupt:
        clock.say("interrupted")
        raise typer.Exit(130) from None
    print_tables(document, Console(highlight=False))
    typer.echo(f"{out / 'demo.json'}\n{out / 'report.html'}")
    if not _sound(document):
        raise typer.Exit(1)


def _check_boards(names: list[str]) -> None:
    """Raises: HadaptError for an unknown board, before anything is started."""
    known = ["all", *(board.name for board in BOARDS.values() if not board.is_host)]
    for name in names:
        if name not in known:
            raise HadaptError(f"Unknown board {name!r}; there are: {', '.join(known)}.")


def _datasets(names: list[str] | None, clock: Clock) -> list[Dataset]:
    folder = data_folder()
    found = []
    for name in names or available(folder):
        data = load(name, folder)
        if data.features <= MAX_FEATURES:
            found.append(data)
        else:
            clock.note(f"{name} is left out: {data.features} features need convolutions")
    if not found:
        raise DatasetError("there is no data set: install scikit-learn or set HADAPT_DATA")
    if not names:
        found.sort(key=lambda data: (data.name != DIGITS, data.x_train.size))
    return found


def run(
    clock: Clock,
    datasets: list[Dataset],
    boards: list[str] | None,
    out: Path,
    quick: bool,
    *,
    in_time: bool = False,
) -> Json:
    """Run every data set through one service and write the results.

    Args:
        in_time: all sets but the first are quick, and begun only while there is time.
    Returns: what demo.json holds.
    Raises: HadaptError if not a single data set could be run.
    """
    out.mkdir(parents=True, exist_ok=True)
    document: Json = {"format": FORMAT, "datasets": [], "tasks": [], "boards": [], "failed": []}
    with tempfile.TemporaryDirectory(prefix="hadapt-demo-") as temporary:
        with clock.step("start the service"):
            service = Service(Path(temporary))
        with service:
            chosen = _boards(service.client.boards(), boards)
            for data in datasets:
                further = in_time and data is not datasets[0]
                if further and clock.seconds > LAST_START_S:
                    clock.note(
                        f"{data.name} is left out to end in time; --data {data.name} runs it"
                    )
                    continue
                folder = Path(temporary) / data.name
                folder.mkdir()
                one = Run(
                    service.client, clock, data, make_plan(data, quick or further), folder, chosen
                )
                _run_one(one, service, document)
    document |= {"seconds": clock.seconds, "steps": clock.steps, "notes": clock.notes}
    if not document["datasets"]:
        raise HadaptError("No data set could be run.")
    write(document, out)
    (out / "report.html").write_text(render(document), encoding="utf-8")
    return document


def _run_one(one: Run, service: Service, document: Json) -> None:
    """Add a data set's records; one that fails is noted, and the others go on."""
    try:
        dataset, tasks, boards = run_dataset(one)
    except (HadaptError, HarnessError, FirmwareChangedError) as error:
        one.clock.say(f"the service's log ends with:\n{service.log_tail()}")
        one.clock.note(f"{one.data.name} failed: {error}")
        document["failed"].append(one.data.name)
        return
    document["datasets"].append(dataset)
    document["tasks"] += tasks
    document["boards"] += boards


def _boards(found: list[s.BoardRead], names: list[str] | None) -> list[s.BoardRead]:
    """The boards asked for; all of them if none is."""
    if not names or "all" in names:
        return found
    return [board for board in found if board.name in names]


def _sound(document: Json) -> bool:
    """False if a data set failed, a board differs from the host, or the device from its update."""
    exact = all(board["bit_exact"] is not False for board in document["boards"])
    arrived = all(
        task["device"]["hash_equals_update"] for task in document["tasks"] if task["device"]
    )
    return exact and arrived and not document["failed"]
