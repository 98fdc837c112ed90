# SPDX-License-Identifier: Apache-2.0
"""Networks that grow (SPEC.md 16): whether a model and a learner have room for another task."""

from codegen.quantize.options import DER
from device.twin.expansion import first_free
from device.twin.model import IntModel
from device.twin.state import import_state
from server.errors import InvalidInputError, Issue
from server.learning.learner_data import LearnerData
from server.learning.methods import RECIPES, Method


def require_expansion(model: IntModel, method: Method) -> None:
    """Raises: InvalidInputError if the method grows, and the model has not the blocks for it."""
    wanted = RECIPES[method].expansion
    first = 0 if wanted == DER else len(model.layers) - 2
    if wanted is None or (model.expansion is not None and model.expansion.first == first):
        return
    raise InvalidInputError(
        "This model reserves no rows for tasks to come.",
        [Issue(f"method {method}", "method", f"a model quantized with expansion {method}")],
    )


def require_block(model: IntModel, method: Method, learner: bytes) -> None:
    """Raises: InvalidInputError if the method grows, and the learner has used all blocks."""
    expansion = model.expansion
    if RECIPES[method].expansion is None or expansion is None:
        return
    state, _ = import_state(model, model.model_id, LearnerData.from_bytes(learner).state)
    if first_free(model, expansion, state) is not None:
        return
    raise InvalidInputError(
        f"All {expansion.count} blocks of this model have been learned.",
        [
            Issue(
                f"block {expansion.count + 1} of {expansion.count}",
                "method",
                "a method that does not grow, or a model with more expansion_blocks",
            )
        ],
    )
