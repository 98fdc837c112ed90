# SPDX-License-Identifier: Apache-2.0
"""Commands about boards: boards, generate, emulate."""

import dataclasses
import io
import zipfile
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from codegen.layouts import LAYOUTS, PLAIN
from server.commands.arrays import Samples, known_slots, read_samples
from server.commands.console import (
    FAILED,
    AsJson,
    command,
    number,
    print_facts,
    print_json,
    print_table,
    say,
    write_output,
    wrong,
)
from server.commands.engine import choose_boards, engine, stop_signal
from server.commands.model_file import ModelFile, load_model_file
from server.commands.models import ModelPath
from server.commands.planning import Features, InferenceOnly, parts_for
from server.errors import HadaptError, Issue, SampleInvalidError
from server.learning.ports import DeviceTask, Json

LAYOUT_HELP = f"Form of the package: {', '.join(LAYOUTS)}."
Boards = Annotated[list[str], typer.Option("--board", "-b", help="Board; again for more; all.")]


def boards(
    model: Annotated[
        Path | None, typer.Option("--for", help="ONNX file: which common parts can hold it.")
    ] = None,
    parts: Annotated[
        bool, typer.Option("--parts", help="Common microcontrollers instead of emulated boards.")
    ] = False,
    features: Features = None,
    inference_only: InferenceOnly = False,
    as_json: AsJson = False,
) -> None:
    """List the boards firmware can be made for, the smallest first; or the parts for a model.

    Wherever a board is asked for, a part will do, and so will either with less memory, as
    mps2-an386:ram=64K,flash=256K: the firmware is linked within it and runs on the emulated board
    of the core.

    \b
    Examples:
      hadapt boards
      hadapt boards --parts
      hadapt boards --json | jq -r '.[] | select(.available) | .name'
      hadapt boards --for digits.onnx
    """
    with command(as_json):
        if model is not None:
            parts_for(model, as_json, features, inference_only)
            return
        found = engine().parts() if parts else engine().boards()
        if as_json:
            print_json([dataclasses.asdict(board) for board in found])
            return
        rows = [
            [b.name, b.title, b.cpu, number(b.flash_bytes), number(b.ram_bytes),
             "ready" if b.available else str(b.missing)]
            for b in found
        ]  # fmt: skip
        what = "part" if parts else "board"
        columns = (what, "what it is", "core", "flash, bytes#", "RAM, bytes#", "here")
        print_table(f"{what}s", columns, rows)


def generate(
    model: ModelPath,
    board: Annotated[
        str, typer.Option("--board", "-b", help="Board or part, see `hadapt boards`.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="A new folder, or a .zip.")],
    layout: Annotated[str, typer.Option(help=LAYOUT_HELP)] = PLAIN,
    as_json: AsJson = False,
) -> None:
    """Write the C firmware of a model for a board, or a library for your build system.

    C11, integers only, no heap; the same model gives the same bytes.

    \b
    Examples:
      hadapt generate digits.hadapt --board mps2-an386 -o firmware.zip
      hadapt generate digits.hadapt --board nrf52832 -o firmware/
      hadapt generate digits.hadapt --board mps2-an386 --layout zephyr -o module/
    """
    with command(as_json):
        loaded = load_model_file(model)
        choose_boards([board])
        if board == "all":
            raise wrong("all", "--board", "one board")
        _check_folder(output)
        data = engine().generate(
            loaded.int_model, loaded.learner, board, layout, loaded.class_names
        )
        names = _write(output, data)
        facts: Json = {"board": board, "output": str(output), "files": len(names)}
        print_json({**facts, "names": names}) if as_json else print_facts("firmware", facts)


def _check_folder(output: Path) -> None:
    if output.suffix == ".zip":
        return
    if output.is_file() or (output.is_dir() and any(output.iterdir())):
        raise wrong("is there already", str(output), "a new or empty folder, or a name in .zip")


def _write(output: Path, data: bytes) -> list[str]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = sorted(archive.namelist())
        if output.suffix == ".zip":
            write_output(output, data)
        else:
            output.mkdir(parents=True, exist_ok=True)
            archive.extractall(output)
    return names


def emulate(
    model: ModelPath,
    board: Boards,
    data: Annotated[Path, typer.Option("--data", help="npz with labelled rows, x_test first.")],
    rows: Annotated[int, typer.Option(min=1, help="Rows to run, classes in turn.")] = 32,
    train_steps: Annotated[int, typer.Option(min=0, help="Also train so many steps.")] = 0,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1)] = 1,
    timeout: Annotated[float, typer.Option(min=1.0, help="Seconds for one exchange.")] = 120.0,
    as_json: AsJson = False,
) -> None:
    """Build the firmware, run it in an emulator, and compare it with the host, bit for bit.

    The running device is given the learner as state bytes, predicts the rows and, if asked to,
    trains. Exit code 1 if a board differs or fails.

    \b
    Examples:
      hadapt emulate digits.hadapt --board mps2-an386 --data digits.npz
      hadapt emulate digits.hadapt --board all --data digits.npz --train-steps 10
    """
    with command(as_json):
        loaded = load_model_file(model)
        chosen = choose_boards(board, available_only=board == ["all"])
        x, y = _rows(loaded, read_samples(data, loaded.feature_count, "test"), rows)
        task = DeviceTask(
            int_model=loaded.int_model,
            learner=loaded.learner,
            board="",
            x=x,
            y=y,
            train_steps=train_steps,
            seed=seed,
            timeout_s=timeout,
        )
        results = [_test(dataclasses.replace(task, board=info.name)) for info in chosen]
        print_json(results) if as_json else _show(results)
        if not results or not all(result["bit_exact"] for result in results):
            raise typer.Exit(FAILED)


def _rows(
    model: ModelFile, samples: Samples, count: int
) -> tuple[np.ndarray[tuple[int, ...], np.dtype[np.float32]],
           np.ndarray[tuple[int, ...], np.dtype[np.int64]]]:  # fmt: skip
    """At most `count` rows of classes that the model knows, classes in turn."""
    if not model.class_names:  # inference-only: nothing has a class
        return samples.x[:count], np.zeros(min(count, len(samples.x)), np.int64)
    slots = known_slots(samples, model.class_names)
    known = np.flatnonzero(slots < len(model.class_names))
    if not len(known):
        issue = Issue("no rows", "--data", f"rows of {', '.join(model.class_names)[:200]}")
        raise SampleInvalidError("No row has a class that the model knows.", [issue])
    rank = np.zeros(len(known), np.int64)
    for slot in np.unique(slots[known]):
        members = slots[known] == slot
        rank[members] = np.arange(np.count_nonzero(members))
    chosen = known[np.lexsort((slots[known], rank))][:count]
    return samples.x[chosen], slots[chosen]


def _test(task: DeviceTask) -> Json:
    say(f"building and running {task.board}")
    try:
        with stop_signal() as stop:
            return {**dataclasses.asdict(engine().device_test(task, stop)), "error": None}
    except HadaptError as error:
        return {"board": task.board, "bit_exact": None, "error": error.detail}


def _show(results: list[Json]) -> None:
    rows = []
    for result in results:
        counts = result.get("instructions", {})
        sizes = [number(result.get(k)) for k in ("flash_bytes", "ram_bytes", "stack_bytes")]
        steps = [number(counts.get(k)) for k in ("inference", "training_step")]
        rows.append([result["board"], _verdict(result), *sizes, *steps])
    columns = ("board", "bit-exact", "flash#", "RAM#", "stack#", "instr. an inference#",
               "a training step#")  # fmt: skip
    print_table("device test", columns, rows)
    for result in results:
        if result["error"] is not None:
            say(f"{result['board']}: {result['error']}")
        else:
            say(f"{result['board']}: state {result['state_hash']}, ELF {result['elf_sha256']}")


def _verdict(result: Json) -> str:
    if result["error"] is not None:
        return "not run"
    return "yes" if result["bit_exact"] else "NO"
