# SPDX-License-Identifier: Apache-2.0
"""Tests of the tests: one error planted in each kernel must be seen by a parity session."""

from collections.abc import Callable
from contextlib import ExitStack

import pytest

from device.harness.errors import DeviceError
from tests.parity.models import METHOD_SPECS, SPECS, ModelSpec, make_model
from tests.parity.sessions import Pair, run_correction_session, run_method_session, run_session
from tests.parity.workshop import Mutation, Workshop

PACKED, OCTET = "mps2-an386", "microbit"  # whose layouts use four rows, or eight, in fields
HEADER = "runtime/include/hadapt/"

SMALL = ModelSpec(
    "small",
    (30, 11, 6),
    factors=True,
    exemplar_slots=15,
    arithmetic={"order": 16, "batch": 10, "tile_k": 16, "master_bits": 8},
)
TILES = ModelSpec("tiles", (40, 9, 5), arithmetic={"order": 4, "batch": 6, "tile_k": 13})
CHUNKS = ModelSpec("chunks", (45, 9, 5), arithmetic={"order": 4, "batch": 6, "tile_k": 32})
STEEP = ModelSpec("steep", (45, 40, 5), steep=True, arithmetic={"order": 4, "batch": 6})
MODELS = {
    "steep": STEEP,
    "small": SMALL,
    "tiles": TILES,
    "chunks": CHUNKS,
    **{spec.name: spec for spec in METHOD_SPECS},
    **{spec.name: spec for spec in SPECS if spec.name in ("frozen", "wide", "head", "blocks")},
}


MUTATIONS = (
    Mutation("had_scale.c", "(product + (1U << (shift - 1U)))", "(product)"),
    Mutation("had_scale.c", "-29 - a.exponent", "-28 - a.exponent"),
    Mutation("had_quant.c", "amax >> q.k", "(amax >> q.k) | 1"),
    Mutation(HEADER + "quant.h", "- 8U))) >>", "- 9U))) >>"),
    Mutation(
        HEADER + "quant.h",
        "q, 0);\n    return (int8_t)((clipped * q->r + (1 <<",
        "q, 0);\n    return (int8_t)((clipped * q->r + (0 <<",
    ),
    Mutation("had_random.c", "0x7feb352dU", "0x7feb352fU"),
    Mutation(HEADER + "random.h", "(l) + 2U)", "(l) + 3U)"),
    Mutation(HEADER + "random.h", "0xFFFF0000U", "0xFFFF0001U"),
    Mutation("had_fwht.c", "a[h] = odd + difference", "a[h] = odd - difference"),
    Mutation("had_tile.h", "(-HAD_ACC_MAX - 1)", "(-HAD_ACC_MAX)"),
    Mutation(
        "had_dot_columns.c",
        "terms < HAD_TILE_K ? terms : HAD_TILE_K",
        "terms < HAD_TILE_K + 1U ? terms : HAD_TILE_K + 1U",
        "tiles",
    ),
    Mutation("had_dot_row.c", "return had_saturate_acc(acc)", "return acc", "tiles"),
    *(
        Mutation("had_dot_packed.c", old, new, "tiles", layout)
        for layout, old, new in (
            ("host", "total[0] += had_saturate_acc(low)", "total[0] += low"),
            ("host", "s->p2 += (word >> 8 & FIELDS)", "s->p2 += (word >> 9 & FIELDS)"),
            ("host", "(s.p1 << 4)", "(s.p1 << 3)"),
            (PACKED, "(uint32_t)had_saturate_acc(low) +", "(uint32_t)low +"),
            (PACKED, "total.p3 += s.p3 - HAD_RAISE", "total.p3 += s.p3"),
            (OCTET, "(word >> 4 & NIBBLES)", "(word >> 5 & NIBBLES)"),
        )
    ),
    Mutation("had_dot_packed.c", "? 0x80808080U", "? 0x80808000U", "head", OCTET),
    *(
        Mutation(file, old, new, "tiles", layout)
        for layout, file, old, new in (
            (PACKED, "had_packed.h", "s->a1 += value * w0", "s->a1 += value * (w0 + 1)"),
            (PACKED, "had_packed.c", "*low = had_saturate_acc(*low)", "*low = *low + 0"),
            (PACKED, "had_packed.c", "*high = had_saturate_acc(*high)", "*high = *high + 0"),
            (PACKED, "had_dot_columns.c", "before = total", "before = 0"),
            (PACKED, "had_tile.h", "(word - low) >> 16", "word >> 16"),
            (
                OCTET,
                "had_octet.c",
                "s.a2 += value * (uint32_t)w[2]",
                "s.a2 += value * (uint32_t)w[1]",
            ),
            (OCTET, "had_dot_packed.c", "(uint32_t)had_saturate_acc(low)", "(uint32_t)low"),
            (OCTET, "had_dot_packed.c", "had_saturate_acc(had_field_high(fields, low))", "0"),
            (OCTET, "had_octet.c", "total[1] + s->a1 - HAD_RAISE", "total[1] + s->a1"),
            (OCTET, "had_octet.c", "for (uint32_t first = 1U; x", "for (uint32_t first = 0U; x"),
            (OCTET, "had_tile.h", "(word - low) >> 16", "word >> 16"),
            (
                OCTET,
                "had_forward.c",
                "quantize(*next++, &q1) * HAD_SECOND",
                "quantize(*next++, &q0) * HAD_SECOND",
            ),
            (OCTET, "had_input_grad.c", "&q, 128U) * HAD_SECOND", "&q, 40U) * HAD_SECOND"),
            (OCTET, "had_input_grad.c", "wh + c / 2U, block", "wh, block"),
        )
    ),
    *(
        Mutation(HEADER + "dot.h", old, new, "tiles", layout)
        for layout, old, new in (
            (PACKED, "*word + value * HAD_SECOND", "*word + value * (HAD_SECOND - 1)"),
            (OCTET, "*word + value * HAD_SECOND", "*word + value * (HAD_SECOND - 1)"),
            (OCTET, "(odd << 15)", "(odd << 1)"),
        )
    ),
    *(
        Mutation(file, old, new, "chunks", "mps2-an386+dsp")
        for file, old, new in (
            ("had_dsp.c", "had_saturate_acc16(tile)", "tile"),
            ("had_dsp.c", "had_add16(tile, chunk", "had_add16(0U, chunk"),
            ("had_dsp.c", "had_bytes_odd(v[2]), v[3] << 4", "had_bytes_odd(v[2]), v[3]"),
            ("had_dsp.c", "(acc - low) >> 12", "acc >> 12"),
            ("had_dsp.c", "start_of(s1, tile)", "start_of(s0, tile)"),
            ("had_dsp.c", "raise != 0U ? 0U", "raise == 0U ? 0U"),
            (HEADER + "dot.h", "| (uint32_t)v1 << 16", "| (uint32_t)v0 << 16"),
            ("had_packed_dsp.c", "SATURATED(s.a[j])", "s.a[j]"),
            ("had_dsp.h", "{0U, 12U, 8U, 20U}", "{0U, 12U, 20U, 8U}"),
        )
    ),
    *(
        Mutation("had_dsp_values." + file, old, new, "small", "mps2-an386+dsp")
        for file, old, new in (
            ("c", "had_abs16(v[1])", "had_abs16(v[0])"),
            ("c", "word >> 6 &", "word >> 5 &"),
            ("c", "bits >> 15)", "bits >> 14)"),
            ("c", "had_exchange(v + 4, v + 5)", "had_exchange(v + 4, v + 4)"),
            ("h", "return had_max16(v, 0U)", "return v"),
            ("h", "had_half(v, 1U) * m", "had_half(v, 0U) * m"),
            ("h", "(bits & 2U) != 0U", "(bits & 1U) != 0U"),
        )
    ),
    *(
        Mutation(file, old, new, model, "mps2-an385+long")
        for model, file, old, new in (
            ("chunks", "had_long.c", "(uint32_t)(had_saturate_acc(sum) +", "(uint32_t)(sum +"),
            ("steep", "had_long.c", "c + signed_field(rest - c)", "signed_field(rest)"),
            ("chunks", "had_long.c", "(rest - sum) >> 12", "rest >> 12"),
            ("steep", "had_long.c", "(sum - low) >> 24", "low"),
            ("chunks", "had_long.c", "all[j] += sums[j]", "all[j] = sums[j]"),
            ("chunks", "had_long.c", "(raises - 1U)", "(raises - 2U)"),
            ("chunks", "had_long.c", "from[3U * HAD_BATCH_STRIDE]", "from[2U * HAD_BATCH_STRIDE]"),
            ("head", "had_activation.c", "((v + half) >> 12)", "(v >> 12)"),
        )
    ),
    *(
        Mutation(file, old, new, "chunks", "mps3-an547")
        for file, old, new in (
            ("had_dot_mve.c", "value = had_saturate_acc(sum)", "value = sum"),
            ("had_dot_mve.c", "* HAD_BATCH_STRIDE + c]", "* HAD_BATCH_STRIDE + (c ^ 1U)]"),
            (HEADER + "dot.h", "* HAD_ROWS + row) *", "* (HAD_ROWS - 4U) + row) *"),
            ("had_packed_mve.c", "return had_saturate_acc(sum)", "return sum"),
            ("had_packed_mve.c", "(bytes[k] + 8) >> 4", "bytes[k] >> 4"),
            ("had_view.c", "*at + 16U * value", "*at + 15U * value"),
        )
    ),
    Mutation("had_gather.c", "(word & 0xFFFFU) * classes", "(word >> 16) * classes"),
    Mutation("had_row.c", "had_widen(amax, layer->w_range)", "amax"),
    Mutation("had_row.c", "(int32_t)layer->forward_shift", "0", "wide"),
    Mutation("had_forward.c", "value > y_max ? value", "value > y_max + 90 ? value"),
    Mutation("had_activate.c", "y[b] > 0 ?", "y[b] > 1000 ?"),
    Mutation("had_activate.c", "working.tracked[next]) >> 4", "working.tracked[next]) >> 3"),
    Mutation("had_loss.c", "23637U", "23737U"),
    Mutation("had_block.c", "row_factor[first + r]", "row_factor[first]"),
    Mutation("had_error.c", "word >>= 8;", "word >>= 7;"),
    Mutation("had_input_grad.c", "- HAD_ORDER_LOG2", "- HAD_ORDER_LOG2 + 1"),
    Mutation(
        "had_input_grad.c",
        "(bits & 1U) != 0U ? had_sat",
        "(bits & 1U) == 0U ? had_sat",
        "tiles",
    ),
    Mutation("had_activation.c", "r, key, i * HAD_BATCH_PADDED);\n        H", "r, key, i);H"),
    *(
        Mutation("had_activation.c", old, new, layout=OCTET)
        for old, new in (
            ("r, key, i * HAD_BATCH_PADDED", "r, key, i"),
            ("x[1] = (int8_t)high", "x[1] = (int8_t)low"),
        )
    ),
    Mutation("had_update.c", "(word << 16) >> 2", "(word << 16) >> 3", "tiles"),
    Mutation("had_update_panel.c", "u[i] << 14", "u[i] << 13"),
    Mutation("had_panel.c", "start[r];", "0;"),
    Mutation("had_panel.c", "had_saturate_acc(sums[r][c])", "sums[r][c]"),
    Mutation("had_wide.h", "bits >> c & 1U", "bits >> (c ^ 1U) & 1U"),
    Mutation("had_wide.h", "key + first / 4U", "key", "blocks"),
    Mutation("had_panel.c", "? to[c] : 0)", "? 0 : 0)", "blocks"),
    Mutation("had_weight_grad.c", "+ half)", "+ half / 2)"),
    Mutation("had_view.c", "had_widen(range, layer->x_range)", "range"),
    Mutation("had_infer.c", "shift = SHIFT(layer)", "shift = 0U", "wide"),
    Mutation("had_frozen.c", "layer->acc_shift) *", "(layer->acc_shift + 1U)) *", "frozen"),
    Mutation("had_frozen.c", "stage->is_signed != 0U", "stage->is_signed == 0U", "frozen"),
    Mutation("had_herding.c", "512 * f", "256 * f"),
    Mutation("had_herding.c", "256 * sum + n", "128 * sum + n"),
    Mutation("had_prototype.c", "(sum[j] + 1) >> 1", "sum[j] >> 1"),
    Mutation("had_prototype.c", "count * count", "count"),
    Mutation("had_exemplar.c", "ex->rank[slot] < rank", "ex->rank[slot] > rank"),
    Mutation("had_train.c", "session.done += 1U", "session.done += 1U + (ln->session.done & 1U)"),
    Mutation("had_state.c", "copy->tracked + 1", "copy->tracked"),
    Mutation("had_sha256.c", "rotate(e, 25U)", "rotate(e, 24U)"),
    Mutation("had_loss.c", "(257 * t->target[c]) >> 1", "128 * t->target[c]", "distil"),
    Mutation("had_loss.c", "difference + 128) >> 8", "difference + 127) >> 8", "distil"),
    Mutation("had_loss.c", "frac_bits + t.soften)", "frac_bits)", "distil"),
    Mutation("had_loss.c", "255U * probability", "256U * probability", "distil"),
    Mutation(
        "had_train.c",
        "out_frac_bits + session->",
        "out_frac_bits + 0U * session->",
        "distil",
    ),
    Mutation("had_train.c", "known < ln->working", "known > ln->working", "distil"),
    Mutation("had_train.c", "(used, HAD_TARGET_UNITS)", "(used, 1U)", "distil"),
    Mutation("had_exemplar.c", "new_only != 0U ? HAD_RANK_STAGED : 0U", "0U", "distil"),
    Mutation("had_gather.c", "number -= ex->part_count[label]", "number -= 1U", "distil"),
    Mutation("had_correction.c", "(1 << 11)) >> 12", "(1 << 11)) >> 11", "bic"),
    Mutation("had_correction.c", "d->step >> 1 : 1", "d->step >> 2 : 1", "bic"),
    Mutation("had_correction.c", "e * y[c]", "e * z[c]", "bic"),
    Mutation("had_correction.c", "sign * d->sign < 0", "sign * d->sign > 0", "bic"),
    Mutation("had_exemplar.c", "most > 0U ? most : 1U", "most", "bic"),
    Mutation("had_exemplar.c", "ex->part_total -= held", "ex->part_total -= 0U", "bic"),
    Mutation(
        "had_train.c",
        "(ln), session->old_classes);",
        "(ln), 0U);",
        "bic",
    ),
    Mutation(
        "had_correction.c",
        "ln->trained != 0U ? had_no",
        "ln->trained == 0U ? had_no",
        "bic",
    ),
    Mutation("had_state.c", "2U * HAD_LAYERS + 1U) {", "2U * HAD_LAYERS + 2U) {", "bic"),
    Mutation("had_learner.c", "logits[c] > logits[best]", "logits[c] >= logits[best] - 9"),
)


OpenWorkshop = Callable[[str, str], Workshop]


@pytest.fixture(scope="module")
def workshops(tmp_path_factory: pytest.TempPathFactory) -> OpenWorkshop:
    """A workshop for each model and layout, opened at first use."""
    opened: dict[tuple[str, str], Workshop] = {}

    def workshop(name: str, layout: str) -> Workshop:
        if (name, layout) not in opened:
            folder = tmp_path_factory.mktemp(f"{name}-{layout}")
            opened[name, layout] = Workshop(folder, make_model(MODELS[name]), layout)
        return opened[name, layout]

    return workshop


def _session(pair: Pair) -> None:
    if pair.model.bias_correction:
        run_correction_session(pair, seed=5)
    elif pair.model.distillation:
        run_method_session(pair, seed=5)
    else:
        run_session(pair, seed=5)


@pytest.mark.parametrize(("name", "layout"), dict.fromkeys((m.model, m.layout) for m in MUTATIONS))
def test_session_without_an_error_passes(
    name: str, layout: str, workshops: OpenWorkshop, stack: ExitStack
) -> None:
    workshop = workshops(name, layout)
    _session(workshop.pair(workshop.sound(), stack))


@pytest.mark.parametrize(
    "mutation", MUTATIONS, ids=lambda m: f"{m.file.split('/')[-1]}-{MUTATIONS.index(m)}"
)
def test_session_with_a_planted_error_fails(
    mutation: Mutation, workshops: OpenWorkshop, stack: ExitStack
) -> None:
    workshop = workshops(mutation.model, mutation.layout)
    elf = workshop.planted(mutation, MUTATIONS.index(mutation))
    with pytest.raises((AssertionError, DeviceError)):
        _session(workshop.pair(elf, stack))
