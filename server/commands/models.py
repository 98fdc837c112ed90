# SPDX-License-Identifier: Apache-2.0
"""Commands about models: import, quantize, export, report."""

from pathlib import Path
from typing import Annotated, Any

import typer

from codegen.quantize.front import spread
from server.commands.arrays import Samples, npy_bytes, parse_classes, read_samples, to_slots
from server.commands.console import (
    AsJson,
    command,
    number,
    percent,
    print_facts,
    print_json,
    print_table,
    read_input,
    say,
    write_output,
    wrong,
)
from server.commands.engine import choose_boards, engine, stop_signal
from server.commands.evaluation import evaluate
from server.commands.model_file import ModelFile, check_output, load_model_file
from server.errors import HadaptError, Issue, SampleInvalidError
from server.learning.ports import Calibration, ImportedModel, IntModelArtifact, Json

KEPT_SAMPLES = 64  # calibration samples in the model file, for `hadapt explain` and `diff`
OnnxPath = Annotated[Path, typer.Argument(metavar="MODEL.onnx", help="Float model, ONNX.")]
ModelPath = Annotated[
    Path, typer.Argument(metavar="MODEL.hadapt", help="Made by quantize or learn.")
]
Classes = Annotated[
    str | None,
    typer.Option("--classes", help="Use only rows of these classes, such as 0-5,8 or cat,dog."),
]
Output = Annotated[Path, typer.Option("--output", "-o", help="File to write.")]


def import_model(onnx: OnnxPath, as_json: AsJson = False) -> None:
    """Check an ONNX file and show its layers.

    Dense classifiers are understood, as scikit-learn (skl2onnx) and PyTorch export them. What
    cannot be used is named: the node, its operator, and what is supported.

    \b
    Examples:
      hadapt import digits.onnx
      hadapt import digits.onnx --json | jq .summary
    """
    with command(as_json):
        found = engine().import_model(read_input(onnx, "an ONNX file"))
        if as_json:
            print_json({"features": found.feature_count, "classes": found.class_count,
                        "class_names": found.class_names, "summary": found.summary})  # fmt: skip
        else:
            _show_import(onnx, found)


def _show_import(path: Path, found: ImportedModel) -> None:
    names = ", ".join(found.class_names) if found.class_names else "no names in the file"
    facts = {"features": found.feature_count, "classes": f"{found.class_count} ({names})"}
    layers = found.summary.get("layers", [])
    others = {k: v for k, v in found.summary.items() if k != "layers"}
    print_facts(str(path), {**facts, **others})
    if layers and isinstance(layers[0], dict):
        columns = list(dict.fromkeys(key for layer in layers for key in layer))
        rows = [[str(layer.get(key, "-")) for key in columns] for layer in layers]
        print_table("layers", columns, rows)


def quantize(
    onnx: OnnxPath,
    data: Annotated[Path, typer.Option("--data", help="Calibration npz: x, and y with labels.")],
    output: Output = Path("model.hadapt"),
    classes: Classes = None,
    train_last: Annotated[
        int | None, typer.Option(min=1, help="Layers trained, from the head; all dense ones.")
    ] = None,
    max_classes: Annotated[
        int | None, typer.Option(min=2, help="Class slots to reserve; four more than there are.")
    ] = None,
    master_bits: Annotated[int | None, typer.Option(help="Stored weights: 8 or 16 bits.")] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Rows of a training step.")] = None,
    exemplar_slots: Annotated[int | None, typer.Option(min=1, help="Samples kept.")] = None,
    staging_slots: Annotated[
        int | None, typer.Option(min=1, help="Further samples a session can take in.")
    ] = None,
    features: Annotated[
        str | None,
        typer.Option(
            help="Raw signals: window-stats:axes=6,window=125 or mfcc:rate=8000,window=8000."
        ),
    ] = None,
    inference_only: Annotated[
        bool,
        typer.Option(
            "--inference-only",
            help="The network only runs: autoencoders, regressors, embeddings.",
        ),
    ] = False,
    option: Annotated[
        list[str] | None,
        typer.Option("--option", help="Any other option, as name=value, such as tile_k=32."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make the integer model, with its first learner, from an ONNX file and real samples.

    The samples set the ranges; with labels they also fill the exemplar memory, which keeps old
    classes alive while new ones are learned. A few hundred rows are enough.

    \b
    Examples:
      hadapt quantize digits.onnx --data calib.npz -o digits.hadapt
      hadapt quantize har.onnx --data dsads.npz --classes 0-8 --max-classes 19 --train-last 2
      hadapt quantize har.onnx --data windows.npz --features window-stats:axes=6,window=125
      hadapt quantize kws.onnx --data audio.npz --features mfcc:rate=8000,window=8000
      hadapt quantize tiny.onnx --data calib.npz --master-bits 8 --batch 8 --option acc_bits=12
      hadapt quantize anomaly.onnx --data normal.npz --inference-only -o anomaly.hadapt
    """
    with command(as_json):
        check_output(output, ".hadapt")
        named = {"train_last": train_last, "max_classes": max_classes, "master_bits": master_bits,
                 "batch": batch, "exemplar_slots": exemplar_slots,
                 "staging_slots": staging_slots, "features": features,
                 "inference_only": inference_only or None}  # fmt: skip
        options = {k: v for k, v in named.items() if v is not None} | _options(option or [])
        model, made = _quantize(onnx, data, parse_classes(classes), options)
        model.save(output)
        _show_quantized(output, model, made, as_json)


def _options(pairs: list[str]) -> Json:
    options: Json = {}
    for pair in pairs:
        name, sign, value = pair.partition("=")
        if not sign or not name:
            raise wrong(pair, "--option", "name=value")
        flags = {"true": True, "false": False}
        digits = value.removeprefix("-")
        options[name] = int(value) if digits.isdigit() else flags.get(value, value)
    return options


def _quantize(
    onnx: Path, data: Path, classes: list[str] | None, options: Json
) -> tuple[ModelFile, IntModelArtifact]:
    content = read_input(onnx, "an ONNX file")
    imported = engine().import_model(content, options)
    samples = read_samples(data, imported.feature_count).of_classes(classes)
    if imported.class_count:
        names = imported.class_names or _first_names(samples, imported.class_count)
        calibration = _calibration(samples, names)
    else:
        names, calibration = (), Calibration(samples.x, None)
    say(f"quantizing {onnx.name} with {len(calibration.x)} samples")
    made = engine().quantize(content, calibration, options)
    learner = engine().first_learner(made.data, calibration)
    model = ModelFile(
        name=onnx.stem,
        class_names=names,
        feature_count=imported.feature_count,
        max_classes=made.max_classes,
        feature_min=made.feature_min,
        feature_max=made.feature_max,
        state_hash=learner.state_hash,
        int_model=made.data,
        learner=learner.data,
        state=learner.state,
        float_model=content,
        samples=npy_bytes(spread(calibration.x, KEPT_SAMPLES)),
    )
    return model, made


def _first_names(samples: Samples, count: int) -> tuple[str, ...]:
    given = samples.class_names or ()
    return tuple(given[i] if i < len(given) else str(i) for i in range(count))


def _calibration(samples: Samples, names: tuple[str, ...]) -> Calibration:
    if samples.labels is None:
        say("the samples have no labels: the exemplar memory starts empty")
        return Calibration(samples.x, None)
    slots, all_names = to_slots(samples, names)
    if len(all_names) > len(names):
        extra = ", ".join(all_names[len(names) :])
        expected = f"the model's {len(names)} classes; choose rows with --classes"
        if names == tuple(str(i) for i in range(len(names))) and samples.labels.dtype.kind == "U":
            expected = (
                f"an array class_names with the {len(names)} names in the order of the network's "
                f"outputs, or integer labels 0 to {len(names) - 1}"
            )
        issue = Issue(f"classes {extra}", "array y", expected)
        raise SampleInvalidError(f"The data have classes that the model lacks: {extra}.", [issue])
    return Calibration(samples.x, slots)


def _show_quantized(output: Path, model: ModelFile, made: IntModelArtifact, as_json: bool) -> None:
    facts: dict[str, Any] = {
        "file": str(output),
        "classes": len(model.class_names),
        "max_classes": model.max_classes,
        "state_hash": model.state_hash,
        "feature_range": [model.feature_min, model.feature_max],
    }
    if not model.class_names:
        facts = {k: v for k, v in facts.items() if k not in ("classes", "max_classes")}
    if as_json:
        print_json({**facts, "report": made.report})
        return
    shown = {k: v for k, v in made.report.items() if isinstance(v, str | int | float)}
    print_facts(f"integer model of {model.name}", {**facts, **shown})
    note = fine_note(made.report)
    if note:
        say(note)


def fine_note(report: Json) -> str:
    """What fine inference gives back, if the model has it; else nothing.

    Example:
        >>> note = fine_note({"calibration_agreement": 0.98, "calibration_agreement_plain": 0.9})
        >>> note.startswith("fine inference: 2.0 % of decisions differ from float; 10.0 %")
        True
        >>> fine_note({"calibration_agreement": 0.9, "calibration_agreement_fine": 0.9})
        ''
    """
    plain = report.get("calibration_agreement_plain")
    if plain is None:
        return ""
    return (
        f"fine inference: {percent(1 - report['calibration_agreement'])} of decisions differ "
        f"from float; {percent(1 - plain)} with half the products (--option fine_inference=false)"
    )


def export(
    model: ModelPath,
    output: Output,
    form: Annotated[
        str, typer.Option(help="exact: equal to the device bit for bit; qdq.")
    ] = "exact",
    as_json: AsJson = False,
) -> None:
    """Write the integer model, with what it has learned, as ONNX.

    `exact` uses integer operators only and equals the device bit for bit in onnxruntime; `qdq` is
    the ordinary quantised form for other tools, close but not equal.

    \b
    Examples:
      hadapt export digits.hadapt -o digits_exact.onnx
      hadapt export digits.hadapt --form qdq -o digits_qdq.onnx
    """
    with command(as_json):
        check_output(output, ".onnx")
        loaded = load_model_file(model)
        parts = loaded.int_model, loaded.learner
        if form == "exact":
            data = engine().export_onnx(*parts, "exact", loaded.class_names)
        elif form == "qdq":
            data = engine().export_onnx(*parts, "qdq", loaded.class_names)
        else:
            raise wrong(f"form {form!r}", "--form", "exact or qdq")
        write_output(output, data)
        facts = {"file": str(output), "form": form, "bytes": len(data)}
        print_json(facts) if as_json else print_facts("exported", facts)


def report(
    model: ModelPath,
    board: Annotated[
        list[str] | None, typer.Option("--board", "-b", help="Board; again for more; all.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option("--data", help="npz with x_test, y_test (or x, y): accuracies.")
    ] = None,
    cost: Annotated[
        bool,
        typer.Option("--cost", help="Instructions in QEMU, and a model of cycles (M0, M3, M4)."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show what a model knows, how good it is, and what it costs on each board.

    \b
    Examples:
      hadapt report digits.hadapt
      hadapt report digits.hadapt --board microbit --board mps2-an386 --data digits.npz
      hadapt report digits.hadapt --board microbit --cost
    """
    with command(as_json):
        loaded = load_model_file(model)
        chosen = choose_boards(board or ["all"], available_only=board is None)
        found: Json = {
            "name": loaded.name,
            "classes": list(loaded.class_names),
            "max_classes": loaded.max_classes,
            "state_hash": loaded.state_hash,
            "sessions": list(loaded.history),
            "accuracy": _accuracy(loaded, data) if data and loaded.class_names else None,
            "boards": [_resources(loaded, info.name, cost) for info in chosen],
        }
        print_json(found) if as_json else _show_report(found)


def _accuracy(model: ModelFile, data: Path) -> Json:
    samples = read_samples(data, model.feature_count, "test")
    return evaluate(model.int_model, model.learner, model.class_names, samples).to_json()


def _resources(model: ModelFile, board: str, cost: bool) -> Json:
    say(f"resources on {board}")
    try:
        with stop_signal() as stop:
            found = {"board": board, **engine().resources(model.int_model, board, stop)}
        return {**found, "cost": engine().costs(model.int_model, board)} if cost else found
    except HadaptError as error:
        return {"board": board, "error": error.detail}


def _show_report(found: Json) -> None:
    facts = {"classes": ", ".join(found["classes"]), "slots left":
             found["max_classes"] - len(found["classes"]), "sessions": len(found["sessions"]),
             "state hash": found["state_hash"]}  # fmt: skip
    accuracy = found["accuracy"]
    if accuracy:
        facts["accuracy"] = f"{percent(accuracy['accuracy'])} on {accuracy['rows']} rows"
    print_facts(found["name"], facts)
    if accuracy:
        per_class = [[name, percent(share)] for name, share in accuracy["per_class"].items()]
        print_table("accuracy by class", ("class", "accuracy#"), per_class)
    rows = [_resource_row(entry) for entry in found["boards"]]
    print_table("resources, bytes", ("board", "flash#", "RAM#", "stack#", ""), rows)
    costs = [row for entry in found["boards"] for row in _cost_rows(entry)]
    if costs:
        title = "cost: exact instructions in QEMU; cycles are a model, not measured"
        print_table(title, ("board", "of", "instructions#", "cycles (model)#"), costs)


def _cost_rows(entry: Json) -> list[list[str]]:
    return [
        [
            entry["board"],
            name.replace("_", " "),
            number(c["instructions"]),
            number(c["cycles_model"]),
        ]
        for name, c in entry.get("cost", {}).items()
    ]


def _resource_row(entry: Json) -> list[str]:
    sizes = [number(entry.get(name)) for name in ("flash_bytes", "ram_bytes", "stack_bytes")]
    return [entry["board"], *sizes, entry.get("error", "")]
