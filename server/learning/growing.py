# SPDX-License-Identifier: Apache-2.0
"""Networks that grow (SPEC.md 16): whether a model and a learner have room for another task."""

from codegen.quantize.options import DER
from device.twin.expansion import first_free
from device.twin.model import IntModel
from device.twin.state import import_state
from server.errors import InvalidInputError, Issue
from server.learning.learner_data import LearnerData


def fits_expansion(model: IntModel, wanted: str | None) -> bool:
    """Whether a model has the blocks that a method needs; None needs none."""
    if wanted is None:
        return True
    first = 0 if wanted == DER else len(model.layers) - 2
    return model.expansion is not None and model.expansion.first == first


def require_block(model: IntModel, learner: LearnerData) -> None:
    """Raises: InvalidInputError if the learner has used all blocks of its model."""
    expansion = model.expansion
    state, _ = import_state(model, model.model_id, learner.state)
    if expansion is None or first_free(model, expansion, state) is not None:
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
