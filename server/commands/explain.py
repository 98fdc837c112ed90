# SPDX-License-Identifier: Apache-2.0
"""Commands that look inside: explain and diff."""

import io
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from server.commands.arrays import read_samples, to_slots
from server.commands.console import (
    FAILED,
    AsJson,
    command,
    number,
    percent,
    print_facts,
    print_json,
    print_table,
    read_input,
    say,
    wrong,
)
from server.commands.engine import choose_boards, engine
from server.commands.model_file import ModelFile, load_model_file
from server.commands.models import ModelPath
from server.errors import InvalidInputError
from server.learning.ports import Float32Array, Json

Data = Annotated[
    Path | None, typer.Option("--data", help="npz of samples; else those kept in the model file.")
]
STATE_MAGIC = b"HADS"
EXECUTIONS = "twin, host, or a board's name"


def explain(
    model: ModelPath,
    data: Data = None,
    onnx: Annotated[
        Path | None, typer.Option("--onnx", help="Float model; else the one in the model file.")
    ] = None,
    board: Annotated[
        str | None, typer.Option("--board", "-b", help="Count each layer's instructions there.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show each layer: shape, range, clipped and saturated values, error against float, cost.

    Integers are the device's, bit for bit; floats are onnxruntime's on the float model. error is
    the root mean square of integer minus float over that of float; clipped is beyond the range
    of 8 or 4 bits, saturated at the end of 16, tiles are those of the 4-bit products.

    \b
    Examples:
      hadapt explain digits.hadapt
      hadapt explain digits.hadapt --data test.npz --board mps2-an386
      hadapt explain digits.hadapt --json | jq '.layers[] | {name, error}'
    """
    with command(as_json):
        loaded = load_model_file(model)
        x = _samples(loaded, model, data)
        content = loaded.float_model if onnx is None else read_input(onnx, "an ONNX file")
        if not content:
            say("the file holds no float model: steps and errors need --onnx")
        name = None if board is None else _countable(board)
        rows = engine().explain(loaded.int_model, loaded.learner, content or None, x, name)
        found = {"name": loaded.name, "samples": len(x), "board": name, "layers": rows}
        print_json(found) if as_json else _show(found)


def _samples(loaded: ModelFile, path: Path, data: Path | None) -> Float32Array:
    if data is not None:
        return read_samples(data, loaded.feature_count, "test").x
    if not loaded.samples:
        raise wrong("holds no samples", str(path), "samples by --data")
    return np.asarray(np.load(io.BytesIO(loaded.samples), allow_pickle=False), np.float32)


def _countable(board: str) -> str:
    (chosen,) = choose_boards([board])
    return chosen.name


def _show(found: Json) -> None:
    columns = ["layer", "kind", "shape", "bits#", "range#", "clipped#", "saturated#", "tiles#",
               "zeros#", "error#", "MACs#", "bytes#"]  # fmt: skip
    counted = found["board"] is not None
    columns += ["instructions#", "share#"] if counted else []
    rows = [_line(row, counted) for row in found["layers"]]
    where = f", instructions on {found['board']}" if counted else ""
    print_table(f"{found['name']}: layers on {found['samples']} samples{where}", columns, rows)


def _line(row: Json, counted: bool) -> list[str]:
    shape = " x ".join(str(n) for n in row["shape"])
    reach = "-" if row["range"] is None else f"{row['range']:.4g}"
    shares = [percent(row[k]) for k in ("clipped", "saturated", "tiles_saturated", "zeros")]
    sizes = [number(row["macs"]), number(row["weight_bytes"])]
    head = [row["name"], row["kind"], shape, str(row["bits"]), reach]
    more = [number(row["instructions"]), percent(row["share"])] if counted else []
    return [*head, *shares, percent(row["error"]), *sizes, *more]


def diff(
    a: Annotated[str, typer.Argument(metavar="A", help="MODEL[@EXECUTION], or a state file.")],
    b: Annotated[str, typer.Argument(metavar="B", help="Likewise.")],
    data: Data = None,
    rows: Annotated[int, typer.Option(min=1, max=1000, help="Samples compared.")] = 8,
    train_steps: Annotated[
        int, typer.Option(min=0, help="Also train this long on --data, comparing every step.")
    ] = 0,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Of that training.")] = 1,
    model: Annotated[
        Path | None, typer.Option("--model", help="MODEL.hadapt that two state files belong to.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Find the first layer where two runs part: two models, or two executions of one.

    An execution is twin, host or a board's name; twin where none is given. Two files of state bytes
    (hadapt generate: state/model.bin) are compared field by field. Exit code 1 if anything differs.

    \b
    Examples:
      hadapt diff digits.hadapt digits8.hadapt
      hadapt diff digits.hadapt@twin digits.hadapt@mps2-an386
      hadapt diff digits.hadapt@host digits.hadapt@microbit --data new.npz --train-steps 3
      hadapt diff a.state b.state --model digits.hadapt
    """
    with command(as_json):
        if _is_state(a) or _is_state(b):
            found = _diff_states(Path(a), Path(b), model)
        else:
            found = _diff_runs(a, b, data, rows, (train_steps, seed))
        print_json(found) if as_json else _show_diff(found)
        if not found["equal"]:
            raise typer.Exit(FAILED)


def _is_state(name: str) -> bool:
    try:
        with open(name, "rb") as file:
            return file.read(len(STATE_MAGIC)) == STATE_MAGIC
    except OSError:
        return False


def _diff_states(a: Path, b: Path, model: Path | None) -> Json:
    if model is None:
        raise wrong("state files alone do not say what they hold", str(a), "--model MODEL.hadapt")
    loaded = load_model_file(model)
    states = [read_input(path, "state bytes") for path in (a, b)]
    found = engine().diff_states(loaded.int_model, *states)
    return {"a": str(a), "b": str(b), "equal": found is None, "layers": [], "training": None,
            "difference": found}  # fmt: skip


def _diff_runs(a: str, b: str, data: Path | None, rows: int, training: tuple[int, int]) -> Json:
    steps, seed = training
    pairs = [_run(name) for name in (a, b)]
    first, second = (loaded for loaded, _ in pairs)
    if first.feature_count != second.feature_count:
        raise wrong(f"{second.feature_count} features", b, f"{first.feature_count}, as {a}")
    x = _samples(first, Path(a), data)[:rows]
    runs = [(loaded.int_model, loaded.learner, name) for loaded, name in pairs]
    layers, found = engine().diff_layers(runs[0], runs[1], x)
    trained = None
    if found is None and steps:
        if data is None:
            raise wrong("nothing to train on", "--train-steps", "labelled samples by --data")
        if first.int_model != second.int_model:
            raise wrong("two different models", "--train-steps", "two executions of one model")
        samples = read_samples(data, first.feature_count)
        y, _ = to_slots(samples, first.class_names)
        trained = engine().diff_training(runs[0], runs[1], (samples.x[:64], y[:64]), steps, seed)
    return {"a": a, "b": b, "equal": found is None and trained is None, "samples": len(x),
            "layers": layers, "difference": found, "steps": steps, "training": trained}  # fmt: skip


def _run(name: str) -> tuple[ModelFile, str]:
    path, _, execution = name.partition("@")
    if execution not in ("", "twin", "host"):
        try:
            engine().board(execution)
        except InvalidInputError as error:
            raise wrong(f"unknown execution {execution!r}", name, EXECUTIONS) from error
    return load_model_file(Path(path)), execution or "twin"


def _show_diff(found: Json) -> None:
    if found["layers"]:
        rows = [[str(r["layer"]), r["name"], r["kind"], number(r["values"]),
                 "yes" if r["equal"] else "NO"] for r in found["layers"]]  # fmt: skip
        title = f"{found['a']} and {found['b']}: layers on {found['samples']} samples"
        print_table(title, ("nr", "layer", "kind", "values#", "equal"), rows)
    parted: dict[str, Any] | None = found["difference"] or found["training"]
    if parted is None:
        steps = found.get("steps", 0)
        print_facts("no difference", {"training steps compared": steps} if steps else {})
    else:
        print_facts("first difference", parted)
