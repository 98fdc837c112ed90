# SPDX-License-Identifier: Apache-2.0
"""The command that learns: new classes, or more of known ones, with the device's arithmetic."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from server.commands.arrays import (
    Samples,
    has_test_rows,
    parse_classes,
    read_samples,
    to_slots,
)
from server.commands.console import (
    AsJson,
    command,
    percent,
    print_facts,
    print_json,
    print_table,
    say,
    wrong,
)
from server.commands.engine import Bar, engine, stop_signal
from server.commands.evaluation import Evaluation, evaluate
from server.commands.model_file import ModelFile, check_output, load_model_file
from server.commands.models import Classes, ModelPath, Output
from server.errors import Issue, TooManyClassesError
from server.learning.methods import METHODS, RECIPES, Method
from server.learning.ports import Json, Learner, LearnTask

CHUNK_STEPS = 32
METHOD_HELP = (
    "replay: train on new samples and exemplars; icarl: also with distillation, decide by nearest "
    "mean; bic: replay, distillation, corrected logits; lwf: new samples and distillation; "
    "finetune: new samples alone; ncm: class means only; memo, der_expandable: replay "
    "into rows that the model reserves for the task."
)


@dataclass(frozen=True)
class Session:
    """What was asked for: method, steps, seed and learning rate."""

    method: Method
    steps: int
    seed: int
    learning_rate: float | None


def learn(
    model: ModelPath,
    data: Annotated[Path, typer.Option("--data", help="npz with samples of the new classes.")],
    output: Output,
    steps: Annotated[int, typer.Option(min=0, help="Training steps.")] = 200,
    classes: Classes = None,
    test: Annotated[
        Path | None, typer.Option("--test", help="npz to measure on; x_test of the data if there.")
    ] = None,
    method: Annotated[str, typer.Option(help=METHOD_HELP)] = "replay",
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Of all random draws.")] = 1,
    learning_rate: Annotated[
        float | None, typer.Option(min=0.0, help="The engine's default if left out.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Learn new classes from samples, with the arithmetic of the device, and measure the effect.

    The session is replayed by a device bit for bit: the state hash printed here is the one it must
    arrive at. Labels are slots (the next new class comes next) or names.

    \b
    Examples:
      hadapt learn digits.hadapt --data new.npz --steps 200 -o digits2.hadapt
      hadapt learn digits.hadapt --data all.npz --classes 6-7 -o digits2.hadapt
      hadapt learn digits.hadapt --data new.npz --method ncm --steps 0 -o digits2.hadapt
    """
    with command(as_json):
        check_output(output, ".hadapt")
        start = load_model_file(model)
        if not start.class_names:
            raise wrong(
                "is inference-only: nothing in it learns", str(model), "a model quantized to learn"
            )
        session = Session(_method(method, steps), steps, seed, learning_rate)
        samples = read_samples(data, start.feature_count).of_classes(parse_classes(classes))
        task, names = _task(start, samples, session)
        testing, origin = _test_rows(start, data, test, samples)
        before = evaluate(
            start.int_model, start.learner, start.class_names, testing, _shown_before(session)
        )
        learner = _train(task)
        record = _record(task, data, learner)
        after_file = start.with_learner(learner, names, record)
        after = evaluate(
            start.int_model, after_file.learner, after_file.class_names, testing, session.method
        )
        after_file.save(output)
        _show(start, after_file, output, (before, after), origin, as_json)


def _method(name: str, steps: int) -> Method:
    method = next((known for known in METHODS if known == name), None)
    if method is None:
        raise wrong(f"method {name!r}", "--method", "one of " + ", ".join(METHODS))
    if RECIPES[method].trains and steps < 1:
        raise wrong(f"{steps} steps", "--steps", f"at least 1 for {name}")
    return method


def _shown_before(session: Session) -> Method:
    """By which method's head the start is measured: ncm learns beside a linear head."""
    return "replay" if session.method == "ncm" else session.method


def _test_rows(
    model: ModelFile, data: Path, test: Path | None, samples: Samples
) -> tuple[Samples, str]:
    """The rows to measure on, and what to call them."""
    if test is not None:
        return read_samples(test, model.feature_count, "test"), f"test rows of {test.name}"
    if has_test_rows(data):
        return read_samples(data, model.feature_count, "test"), f"test rows of {data.name}"
    return samples, "the training rows themselves (give --test for an honest figure)"


def _task(
    start: ModelFile, samples: Samples, session: Session
) -> tuple[LearnTask, tuple[str, ...]]:
    """The session for the engine, and the names of all classes after it.

    Raises: SampleInvalidError, TooManyClassesError.
    """
    slots, names = to_slots(samples, start.class_names)
    if len(names) > start.max_classes:
        left = start.max_classes - len(start.class_names)
        fresh = len(names) - len(start.class_names)
        issue = Issue(f"{fresh} new classes", "labels", f"at most {left}")
        raise TooManyClassesError(
            f"The data bring {fresh} new classes; {left} of {start.max_classes} slots are left.",
            [issue],
        )
    task = LearnTask(
        int_model=start.int_model,
        learner=start.learner,
        method=session.method,
        x=samples.x,
        y=slots,
        class_count=len(names),
        steps=session.steps if RECIPES[session.method].trains else 0,
        learning_rate=session.learning_rate,
        seed=session.seed,
    )
    return task, names


def _record(task: LearnTask, data: Path, learner: Learner) -> Json:
    """What the model file remembers of a session: enough to repeat it."""
    return {
        "method": task.method,
        "steps": task.steps,
        "seed": task.seed,
        "learning_rate": task.learning_rate,
        "rows": len(task.y),
        "data_sha256": hashlib.sha256(data.read_bytes()).hexdigest(),
        "state_hash": learner.state_hash,
    }


def _train(task: LearnTask) -> Learner:
    say(f"learning {len(task.y)} rows, {task.steps} steps")
    chunk = engine().start(task)
    with stop_signal() as stop, Bar("training step", task.steps) as bar:
        while not chunk.done:
            chunk = engine().train(task, chunk.checkpoint, CHUNK_STEPS, stop)
            notes = (f"{k} {v:.3g}" for k, v in chunk.metrics.items() if isinstance(v, float))
            bar.at(chunk.steps_done, ", ".join(notes))
    return engine().finish(task, chunk.checkpoint)


def _show(
    start: ModelFile,
    end: ModelFile,
    output: Path,
    results: tuple[Evaluation, Evaluation],
    origin: str,
    as_json: bool,
) -> None:
    before, after = results
    fresh = list(end.class_names[len(start.class_names) :])
    found: Json = {
        "file": str(output),
        "new_classes": fresh,
        "state_hash": end.state_hash,
        "measured_on": origin,
        "before": before.to_json(),
        "after": after.to_json(),
    }
    if as_json:
        print_json(found)
        return
    facts = {"new classes": ", ".join(fresh) or "none", "state hash": end.state_hash,
             "measured on": origin, "file": str(output)}  # fmt: skip
    print_facts(f"{end.name} has learned", facts)
    rows = [
        [name, percent(before.per_class.get(name)), percent(after.per_class[name])]
        for name in end.class_names
    ]
    rows.append(["all known", percent(before.accuracy), percent(after.accuracy)])
    print_table("accuracy", ("class", "before#", "after#"), rows)
