# SPDX-License-Identifier: Apache-2.0
"""Commands that look ahead: plan."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from codegen.errors import CodegenError
from codegen.graph import FloatGraph
from codegen.importer import import_onnx
from codegen.quantize import QuantizeOptions, trained_counts
from device.harness.firmware import Firmware
from server.commands.arrays import read_samples, to_slots
from server.commands.console import (
    FAILED,
    AsJson,
    command,
    number,
    print_facts,
    print_json,
    print_table,
    read_input,
    say,
    wrong,
)
from server.commands.models import OnnxPath
from server.errors import Issue, ModelRejectedError
from server.learning.firmwares import cache_folder
from server.learning.network_planning import networks_by_core, plan_network
from server.learning.parts import PARTS, Part, custom_part, find_part
from server.learning.planning import (
    EXEMPLARS_A_CLASS,
    SMALL_BATCH,
    Answer,
    Planned,
    Wanted,
    needs_by_core,
)
from server.learning.planning import plan as make_plan
from server.learning.quantizing import raw_values

Features = Annotated[
    str | None, typer.Option(help="Of raw signals, taken by the device; see quantize.")
]
InferenceOnly = Annotated[
    bool, typer.Option("--inference-only", help="The network only runs; see quantize.")
]


def plan(
    onnx: OnnxPath,
    board: Annotated[
        str | None, typer.Option("--board", "-b", help="Part or board; see boards --for.")
    ] = None,
    ram: Annotated[int | None, typer.Option(min=1, help="Bytes of RAM instead of a part.")] = None,
    flash: Annotated[int | None, typer.Option(min=1, help="Bytes of flash, with --ram.")] = None,
    classes: Annotated[
        int | None, typer.Option(min=2, max=250, help="Class slots; four more than there are.")
    ] = None,
    exemplars: Annotated[int, typer.Option(min=1, help="Samples kept.")] = 100,
    train_last: Annotated[int | None, typer.Option(min=1, help="Layers trained, fixed.")] = None,
    batch: Annotated[int | None, typer.Option(min=1, max=512, help="Batch, fixed.")] = None,
    data: Annotated[
        Path | None, typer.Option("--data", help="Calibration npz; else random samples.")
    ] = None,
    features: Features = None,
    inference_only: InferenceOnly = False,
    as_json: AsJson = False,
) -> None:
    """Propose what to train and keep on a part, and say what it costs, before anything is made.

    The plan is compiled and linked for the part's core and run in the emulator: bytes are the
    linker's, instructions are counted. What does not fit is refused with the nearest plan that
    does. Seconds are those of one instruction a cycle, a lower bound.

    \b
    Examples:
      hadapt plan digits.onnx --board nrf52832 --classes 12 --exemplars 120
      hadapt plan keywords.onnx --ram 65536 --flash 524288 --train-last 1
      hadapt plan kws.onnx --board nrf52840 --features mfcc:rate=8000,window=8000
      hadapt plan anomaly.onnx --board nrf52832 --inference-only
    """
    with command(as_json):
        part = _part(board, ram, flash)
        graph = read_graph(onnx, inference_only)
        values = raw_values(graph, {"features": features})
        if inference_only:
            x, _ = _calibration(data, graph, values)
            network = plan_network(graph, part, cache_folder(), x, features)
            print_json(network) if as_json else _show_network(network)
            return
        wanted = Wanted(
            classes=QuantizeOptions().classes_for(graph.n_classes) if classes is None else classes,
            exemplars=exemplars,
            train_last=_layers(train_last, graph),
            batch=batch,
            features=features,
        )
        say(f"planning {onnx.name} for {part.name}")
        x, y = _calibration(data, graph, values)
        answer = make_plan(graph, part, _checked(wanted, graph), cache_folder(), x, y)
        print_json(_json(answer)) if as_json else _show(answer)
        if answer.planned is None:
            raise typer.Exit(FAILED)


def parts_for(onnx: Path, as_json: bool, features: str | None, inference_only: bool) -> None:
    """Every part, and whether it holds the model with a head that learns from few exemplars."""
    graph = read_graph(onnx, inference_only)
    raw_values(graph, {"features": features})  # refuses features that do not fit
    say(f"linking {onnx.name} once for each core")
    needs: Mapping[str, Firmware]
    if inference_only:
        needs = networks_by_core(graph, cache_folder(), features)
    else:
        found = needs_by_core(graph, cache_folder(), features)
        needs = {core: planned.firmware for core, planned in found.items()}
    if as_json:
        print_json([_need(part, needs) for part in PARTS.values()])
        return
    rows = [_part_row(_need(part, needs)) for part in PARTS.values()]
    columns = ("part", "core", "flash#", "RAM#", "fits", "needs flash#", "needs RAM#", "source")
    print_table("parts", columns, rows)
    if inference_only:
        return
    say(f"with the last layer trained, batch {SMALL_BATCH}, 8-bit masters and "
        f"{EXEMPLARS_A_CLASS} exemplars a class; hadapt plan finds more")  # fmt: skip


def _need(part: Part, needs: Mapping[str, Firmware]) -> dict[str, Any]:
    firmware = needs[part.base]
    over = {
        "flash": firmware.flash_bytes - part.flash_bytes,
        "RAM": firmware.ram_bytes - part.ram_bytes,
    }
    missing = [f"{n} bytes of {memory} missing" for memory, n in over.items() if n > 0]
    return {
        "part": part.name,
        "core": part.core,
        "flash_bytes": part.flash_bytes,
        "ram_bytes": part.ram_bytes,
        "fits": not missing,
        "missing": ", ".join(missing),
        "needs_flash_bytes": firmware.flash_bytes,
        "needs_ram_bytes": firmware.ram_bytes,
        "source": part.source,
    }


def read_graph(onnx: Path, inference_only: bool = False) -> FloatGraph:
    """Import a file. Raises: ModelRejectedError."""
    try:
        graph = import_onnx(read_input(onnx, "an ONNX file"), inference_only)
        if inference_only:
            return graph
        QuantizeOptions().classes_for(graph.n_classes)
        return graph
    except CodegenError as error:
        issue = Issue(error.what, error.where, error.expected)
        raise ModelRejectedError(str(error), [issue]) from error


def _part(board: str | None, ram: int | None, flash: int | None) -> Part:
    if board is not None and ram is None and flash is None:
        return find_part(board)
    if board is None and ram is not None and flash is not None:
        return custom_part(ram, flash)
    given = "nothing to fit into" if board is None else "a part and a budget at once"
    raise wrong(given, "--board", "either --board, or --ram with --flash")


def _layers(train_last: int | None, graph: FloatGraph) -> int | None:
    counts = trained_counts(graph)
    if counts and train_last is not None and train_last not in counts:
        raise wrong(f"{train_last} layers", "--train-last", _in_words(counts))
    return train_last


def _in_words(counts: Sequence[int]) -> str:
    if len(counts) == counts[-1]:
        return f"1 to {counts[-1]}"
    return f"one of {', '.join(map(str, counts))}: residual blocks are trained whole"


def _checked(wanted: Wanted, graph: FloatGraph) -> Wanted:
    if wanted.classes < graph.n_classes:
        raise wrong(f"{wanted.classes} classes", "--classes", f"at least {graph.n_classes}")
    if wanted.exemplars < graph.n_classes:
        raise wrong(f"{wanted.exemplars} exemplars", "--exemplars", f"at least {graph.n_classes}")
    return wanted


def _calibration(data: Path | None, graph: FloatGraph, values: int) -> tuple[Any, Any]:
    """Samples of `values` numbers, and their class slots."""
    if data is None:
        return None, None
    samples = read_samples(data, values)
    if not graph.dense_layers:
        return samples.x, None
    names = graph.class_names or tuple(str(c) for c in range(graph.n_classes))
    labels = None if samples.labels is None else to_slots(samples, names)[0]
    return samples.x, labels


def _json(answer: Answer) -> dict[str, Any]:
    return {
        "plan": answer.planned.report() if answer.planned else None,
        "refused": answer.refused or None,
        "nearest": answer.nearest.report() if answer.nearest else None,
    }


def _show(answer: Answer) -> None:
    if answer.planned is not None:
        _show_plan("plan", answer.planned)
        return
    say(f"does not fit: {answer.refused}")
    if answer.nearest is None:
        say("no plan fits this part; hadapt boards --for MODEL.onnx lists parts that do")
    else:
        _show_plan("nearest plan that fits", answer.nearest)


def _show_plan(title: str, planned: Planned) -> None:
    r = planned.report()
    facts: dict[str, Any] = {
        "part": r["part"],
        "trains": f"the last {r['train_last']} layers, {r['master_bits']}-bit masters",
        "batch": r["batch"],
        "exemplars": f"{r['exemplars']} of {r['exemplar_bytes']} bytes",
        "class slots": r["max_classes"],
        "RAM": f"{number(r['ram_bytes'])} of {number(r['ram_available_bytes'])} bytes",
        "flash": f"{number(r['flash_bytes'])} of {number(r['flash_available_bytes'])} bytes",
        "worst stack": f"{number(r['stack_bytes'])} bytes",
    }
    if r["layout"] == "field":
        facts["fits as"] = "a field device: --layout field, committed masters in flash alone"
        facts["state in flash"] = f"{number(r['store_bytes'])} bytes"
    for name, count in r["instructions"].items():
        seconds = r["seconds_at_one_instruction_a_cycle"].get(name)
        more = f", {seconds:g} s or more" if seconds is not None else ""
        facts[name.replace("_", " ")] = f"{number(count)} instructions{more}"
    print_facts(title, facts)
    _show_parts(r, ("inference_arena", "training_arena"))


def _show_parts(r: dict[str, Any], arenas: tuple[str, ...]) -> None:
    rows = [[name, number(size)] for name, size in r["flash_parts"].items()]
    print_table("flash, bytes", ("what", "bytes#"), rows)
    for name in arenas:
        arena = r[name]
        bound = f"{number(arena['bytes'])} bytes, lower bound {number(arena['lower_bound_bytes'])}"
        buffers = [[number(b["offset"]), number(b["bytes"]), b["holds"]] for b in arena["buffers"]]
        heading = f"{name.replace('_', ' ')}: {bound}"
        print_table(heading, ("offset#", "bytes#", "holds"), buffers)


def _show_network(r: dict[str, Any]) -> None:
    facts: dict[str, Any] = {
        "part": r["part"],
        "trains": "nothing: inference-only",
        "RAM": f"{number(r['ram_bytes'])} of {number(r['ram_available_bytes'])} bytes",
        "flash": f"{number(r['flash_bytes'])} of {number(r['flash_available_bytes'])} bytes",
        "worst stack": f"{number(r['stack_bytes'])} bytes",
    }
    for name, count in r["instructions"].items():
        seconds = r["seconds_at_one_instruction_a_cycle"].get(name)
        more = f", {seconds:g} s or more" if seconds is not None else ""
        facts[name] = f"{number(count)} instructions{more}"
    print_facts("plan", facts)
    _show_parts(r, ("inference_arena",))


def _part_row(need: dict[str, Any]) -> list[str]:
    fits = "yes" if need["fits"] else f"no: {need['missing']}"
    sizes = [number(need[name]) for name in ("flash_bytes", "ram_bytes")]
    needs = [number(need[name]) for name in ("needs_flash_bytes", "needs_ram_bytes")]
    return [need["part"], need["core"], *sizes, fits, *needs, need["source"]]
