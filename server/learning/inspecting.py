# SPDX-License-Identifier: Apache-2.0
"""Explain and diff on bytes, as the engine offers them."""

from pathlib import Path

from codegen.errors import CodegenError
from codegen.importer import import_onnx
from device.twin.inference import InferenceModel, is_inference_only
from device.twin.model import IntModel
from device.twin.state import StateFormatError
from server.errors import InvalidInputError, Issue
from server.learning.costing import costs_of
from server.learning.diffing import (
    Lesson,
    Run,
    first_difference,
    layers_of,
    states_differ,
    training_differs,
)
from server.learning.explaining import (
    explain_layers,
    instructions_of,
    state_of,
    with_instructions,
)
from server.learning.firmwares import get_board
from server.learning.learner_data import LearnerData
from server.learning.networks import explain_network, learning_model, network_instructions
from server.learning.ports import Float32Array, Int64Array, Json, RunParts
from server.learning.quantizing import as_invalid


class Inspection:
    """The part of the engine that looks inside models; `cache` is its folder of builds."""

    cache: Path

    def explain(
        self,
        int_model: bytes,
        learner: bytes,
        onnx: bytes | None,
        x: Float32Array,
        board: str | None = None,
    ) -> list[Json]:
        """See Engine.explain."""
        target = None if board is None else get_board(board)
        if target is not None and not target.unicorn:
            issue = Issue(f"board {board}", "board", "one that Unicorn runs: Cortex-M0 to M33")
            raise InvalidInputError(f"Instructions are not counted by layer on {board}.", [issue])
        alone = is_inference_only(int_model)
        try:
            graph = None if onnx is None else import_onnx(onnx, inference_only=alone)
            if alone:
                network = InferenceModel.from_bytes(int_model)
                rows = explain_network(network, x, graph)
            else:
                model = IntModel.from_bytes(int_model)
                state = state_of(model, LearnerData.from_bytes(learner).state)
                rows = explain_layers(model, state, x, graph)
        except CodegenError as error:
            raise as_invalid(error) from error
        if target is None:
            return rows
        if alone:
            return network_instructions(network, target, self.cache, x, rows)
        return with_instructions(rows, instructions_of(model, target, self.cache, x))

    def costs(self, int_model: bytes, board: str) -> Json:
        """See Engine.costs."""
        return costs_of(learning_model(int_model, "training step"), get_board(board), self.cache)

    def diff_layers(
        self, a: RunParts, b: RunParts, x: Float32Array
    ) -> tuple[list[Json], Json | None]:
        """See Engine.diff_layers."""
        return first_difference(*(layers_of(_run(parts), x, self.cache) for parts in (a, b)))

    def diff_training(
        self,
        a: RunParts,
        b: RunParts,
        samples: tuple[Float32Array, Int64Array],
        steps: int,
        seed: int,
    ) -> Json | None:
        """See Engine.diff_training."""
        return training_differs(_run(a), _run(b), Lesson(*samples, steps, seed), self.cache)

    def diff_states(self, int_model: bytes, a: bytes, b: bytes) -> Json | None:
        """See Engine.diff_states."""
        try:
            return states_differ(learning_model(int_model, "state"), a, b)
        except StateFormatError as error:
            issue = Issue(str(error), "state bytes", "exports of this model (SPEC.md 9)")
            raise InvalidInputError(f"Not two states of this model: {error}.", [issue]) from error


def _run(parts: RunParts) -> Run:
    int_model, learner, execution = parts
    return Run(
        learning_model(int_model, "comparison of learners"),
        LearnerData.from_bytes(learner),
        execution,
    )
