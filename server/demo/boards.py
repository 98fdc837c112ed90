# SPDX-License-Identifier: Apache-2.0
"""Device tests of the last version on every board, through the service."""

from typing import Any

import numpy as np

from server.api import schemas as s
from server.client import JobEndedError
from server.demo.clock import Clock
from server.demo.plan import SMALL_VARIANT
from server.demo.results import board_record
from server.demo.session import JOB_LIMIT_S, Run, send, upload

Json = dict[str, Any]
TOO_LARGE = "urn:hadapt:problem:model-does-not-fit"


def run_board_tests(run: Run) -> list[Json]:
    """Device tests of the last version on every board; too small a board gets a smaller model."""
    for board in run.boards:
        if not board.available:
            run.clock.note(f"{board.name} cannot be run here: {board.missing}")
    usable = [b.name for b in run.boards if b.available]
    results = _device_test(run, run.model_id, usable, None) if usable else []
    tight = [r["board"] for r in results if (r.get("error") or {}).get("type") == TOO_LARGE]
    cores = {b.name: b.cpu for b in run.boards}
    records = [board_record(run.data.name, cores[r["board"]], r, "main") for r in results]
    if tight:
        small = {r["board"]: r for r in _small_variant(run, tight)}
        records = [small.get(r["board"], r) for r in records]
    absent = [b for b in run.boards if not b.available]
    return records + [_absent(run.data.name, board) for board in absent]


def _absent(dataset: str, board: s.BoardRead) -> Json:
    result = {"board": board.name, "error": {"detail": board.missing or "not available"}}
    return board_record(dataset, board.cpu, result, "main")


def _device_test(run: Run, model_id: str, boards: list[str], version: int | None) -> list[Json]:
    plan = run.plan
    text = f"device test on {', '.join(boards)}: {plan.test_rows} rows, {plan.train_steps} steps"
    with run.clock.step(text):
        test = run.client.create_device_test(
            model_id,
            boards,
            version=version,
            sample_count=plan.test_rows,
            train_steps=plan.train_steps,
            seed=plan.recipe.seed,
        )
        shown = _BoardLines(run.clock)
        run.client.wait_job(test.job_id, JOB_LIMIT_S, progress=shown.see)
    return run.client.device_test(test.id).results


class _BoardLines:
    """Says which board is being tested."""

    def __init__(self, clock: Clock) -> None:
        self._clock, self._last = clock, ""

    def see(self, job: s.JobRead) -> None:
        """Look at a job's progress."""
        text = str(job.progress.get("message") or "")
        if text and text != self._last:
            self._last = text
            self._clock.say(f"  {text}")


def _small_variant(run: Run, boards: list[str]) -> list[Json]:
    """The same network with little memory: on boards that the main model does not fit."""
    text = ", ".join(f"{k} {v}" for k, v in SMALL_VARIANT.items())
    try:
        with run.clock.step(f"a smaller integer model for {', '.join(boards)}: {text}"):
            onnx = (run.folder / "base.onnx").read_bytes()
            model = upload(run, onnx, SMALL_VARIANT)
            x, y = run.rows("test", run.plan.tasks[0])
            send(run, model.id, x, np.array(run.data.class_names)[y], "test")
        results = _device_test(run, model.id, boards, None)
    except JobEndedError as error:
        run.clock.note(f"no smaller model: {error.detail}")
        return []
    cores = {b.name: b.cpu for b in run.boards}
    variant = f"a smaller model, base classes ({text})"
    return [board_record(run.data.name, cores[r["board"]], r, variant) for r in results]
