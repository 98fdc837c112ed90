# SPDX-License-Identifier: Apache-2.0
"""Tests of the tests: one error planted in each kernel must be seen by a parity session."""

from dataclasses import dataclass

import pytest

from tests.parity.conftest import OpenPair
from tests.parity.models import ModelSpec, make_model
from tests.parity.sessions import run_session

SOURCE = "runtime/src/"
HEADER = "runtime/include/hadapt/"

MODEL = ModelSpec(
    "mutant",
    (22, 11, 6),
    frozen=(9, 22),
    factors=True,
    exemplar_slots=15,
    arithmetic={"order": 4, "batch": 10, "tile_k": 3, "master_bits": 8},
)


@dataclass(frozen=True)
class Mutation:
    """One planted error: in `file`, the first `old` becomes `new`."""

    file: str
    old: str
    new: str


MUTATIONS = (
    Mutation(SOURCE + "had_scale.c", "(product + (1U << (shift - 1U)))", "(product)"),
    Mutation(SOURCE + "had_scale.c", "carry((1U << 29) /", "carry(((1U << 29) + 9999U) /"),
    Mutation(SOURCE + "had_quant.c", "bits > 15U", "bits > 14U"),
    Mutation(HEADER + "quant.h", "- 8U))) >>", "- 9U))) >>"),
    Mutation(HEADER + "quant.h", "q, 0);\n    return (int8_t)((clipped * q->r + (1 <<",
             "q, 0);\n    return (int8_t)((clipped * q->r + (0 <<"),
    Mutation(HEADER + "random.h", "0x7feb352dU", "0x7feb352fU"),
    Mutation(HEADER + "random.h", "(l) + 2U)", "(l) + 3U)"),
    Mutation(HEADER + "random.h", "0xFFFF0000U", "0xFFFF0001U"),
    Mutation(SOURCE + "had_fwht.c", "b[j] = a[j] - b[j]", "b[j] = b[j] - a[j]"),
    Mutation(SOURCE + "had_tile.h", "(-HAD_ACC_MAX - 1)", "(-HAD_ACC_MAX)"),
    Mutation(SOURCE + "had_dot_columns.c", "terms < HAD_TILE_K ? terms : HAD_TILE_K",
             "terms < HAD_TILE_K + 1U ? terms : HAD_TILE_K + 1U"),
    Mutation(SOURCE + "had_dot_row.c", "return had_saturate_acc(acc)", "return acc"),
    Mutation(SOURCE + "had_dot_packed.c", "total += had_saturate_acc(acc)", "total += acc"),
    Mutation(SOURCE + "had_gather.c", "(word & 0xFFFFU) * classes", "(word >> 16) * classes"),
    Mutation(SOURCE + "had_row.c", "had_widen(amax, layer->w_range)", "amax"),
    Mutation(SOURCE + "had_row.c", "(int32_t)layer->forward_shift", "0"),
    Mutation(SOURCE + "had_forward.c", "row[b] > y_max", "row[b] >= y_max + 2"),
    Mutation(SOURCE + "had_activate.c", "y[b] > 0 ?", "y[b] > 1000 ?"),
    Mutation(SOURCE + "had_activate.c", "working.tracked[next]) >> 4",
             "working.tracked[next]) >> 3"),
    Mutation(SOURCE + "had_loss.c", "23637U", "23638U"),
    Mutation(SOURCE + "had_block.c", "w[c] * factor", "w[c]"),
    Mutation(SOURCE + "had_error.c", "word >>= 8;", "word >>= 7;"),
    Mutation(SOURCE + "had_input_grad.c", "- HAD_ORDER_LOG2", "- HAD_ORDER_LOG2 + 1"),
    Mutation(SOURCE + "had_input_grad.c", "passes != 0U ? had_sat", "passes == 0U ? had_sat"),
    Mutation(SOURCE + "had_activation.c", "key, i * HAD_BATCH_PADDED", "key, i"),
    Mutation(SOURCE + "had_weight_grad.c", "u << 14", "u << 13"),
    Mutation(SOURCE + "had_weight_grad.c", "+ half) >> m.sh", ") >> m.sh"),
    Mutation(SOURCE + "had_weight_grad.c", "? ln->working.n_classes : layer->outputs",
             "? layer->outputs : layer->outputs"),
    Mutation(SOURCE + "had_view.c", "had_widen(range, layer->x_range)", "range"),
    Mutation(SOURCE + "had_infer.c", "layer->forward_shift", "0U"),
    Mutation(SOURCE + "had_frozen.c", "layer->acc_shift), ", "layer->acc_shift + 1U), "),
    Mutation(SOURCE + "had_frozen.c", "stage->is_signed != 0U", "stage->is_signed == 0U"),
    Mutation(SOURCE + "had_herding.c", "512 * f", "511 * f"),
    Mutation(SOURCE + "had_herding.c", "a % b < 0 ? quotient - 1 : quotient", "quotient + 1"),
    Mutation(SOURCE + "had_prototype.c", "(sum[j] + 1) >> 1", "sum[j] >> 1"),
    Mutation(SOURCE + "had_prototype.c", "count * count", "count"),
    Mutation(SOURCE + "had_exemplar.c", "ex->rank[slot] < rank", "ex->rank[slot] > rank"),
    Mutation(SOURCE + "had_train.c", "session.done += 1U", "session.done += 2U - 1U * (ln->session.done & 1U)"),
    Mutation(SOURCE + "had_state.c", "copy->tracked + 1", "copy->tracked"),
    Mutation(SOURCE + "had_sha256.c", "rotate(e, 25U)", "rotate(e, 24U)"),
    Mutation(SOURCE + "had_learner.c", "logits[c] > logits[best]", "logits[c] >= logits[best] - 9"),
)


def _planted(mutation: Mutation, files: dict[str, bytes]) -> dict[str, bytes]:
    """The files with the error in; the text must be there."""
    before = files[mutation.file].decode()
    assert mutation.old in before, f"{mutation.file} no longer holds {mutation.old!r}"
    return {**files, mutation.file: before.replace(mutation.old, mutation.new, 1).encode()}


def test_session_without_an_error_passes(open_pair: OpenPair) -> None:
    run_session(open_pair(make_model(MODEL), opt="-O0"), seed=5)


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda m: f"{m.file.split('/')[-1]}:{m.old[:24]}")
def test_session_with_a_planted_error_fails(mutation: Mutation, open_pair: OpenPair) -> None:
    pair = open_pair(
        make_model(MODEL), opt="-O0", change=lambda files: _planted(mutation, files)
    )
    with pytest.raises(AssertionError):
        run_session(pair, seed=5)
