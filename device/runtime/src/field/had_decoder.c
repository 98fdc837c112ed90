/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Payload of a packet, SPEC.md 11.4. A token takes at most 56 bits, so with more than 56 in hand one can
 * always be taken, and the end of a byte never falls into a token.
 */
#include "../arithmetic/had_cold.h"

#include "had_decoder.h"

#if HAD_FIELD

#include "../learner/had_fields.h"
#include "hadapt/exemplar.h"
#include "hadapt/quant.h"

#define TOKEN_BITS 56U
#define ESCAPE_ONES 24U
#define MAX_K 24U
#define PAYLOAD_VERSION 2U
#define MAX_CODING 4U

enum phase {
    PHASE_VERSION,
    PHASE_STEP,
    PHASE_COUNTS,
    PHASE_FIELD,
    PHASE_MODE,
    PHASE_PARAMETERS,
    PHASE_VALUE,
    PHASE_GAP,
    PHASE_CHANGE,
    PHASE_EXEMPLAR,
    PHASE_EXEMPLAR_VALUE,
    PHASE_DONE
};

enum mode { MODE_UNCHANGED, MODE_DENSE, MODE_SPARSE, MODE_RAW };

void had_decoder_begin(had_decoder *d) {
    *d = (had_decoder){.phase = PHASE_VERSION};
}

/* The next n <= 32 bits; count becomes UINT32_MAX when there are too few. */
static uint32_t take(had_decoder *d, uint32_t n) {
    if (d->count == UINT32_MAX || n > d->count) {
        d->count = UINT32_MAX;
        return 0U;
    }
    uint32_t value = (uint32_t)(d->bits & ((1ULL << n) - 1U));
    d->bits >>= n;
    d->count -= n;
    return value;
}

static uint32_t take_rice(had_decoder *d, uint32_t k) {
    uint32_t ones = 0U;
    while (ones < ESCAPE_ONES && take(d, 1U) != 0U) {
        ones++;
    }
    return ones == ESCAPE_ONES ? take(d, 32U) : (ones << k) | take(d, k);
}

/* Shape of the field: the first is the step, which the head of the payload has given. */
static void shape_field(had_decoder *d, const had_learner *ln) {
    uint32_t number = d->field - 1U;
    d->rows = 1U;
    d->width = 32U;
    if (number < 2U * HAD_LAYERS) {
        const had_layer *layer = &had_layers[number >> 1];
        uint32_t is_master = (number & 1U) == 0U ? 1U : 0U;
        d->rows = is_master != 0U ? layer->outputs : 1U;
        d->columns = is_master != 0U ? layer->inputs : layer->outputs;
        d->width = is_master != 0U ? (uint32_t)HAD_MASTER_BITS : 32U;
    } else if (number == 2U * HAD_LAYERS) {
        d->columns = HAD_LAYERS - 1U;
#if HAD_BIAS_CORRECTION
    } else if (number == 2U * HAD_LAYERS + 1U) {
        d->columns = 4U;
        d->width = 16U;
#endif
    } else {
        d->rows = HAD_MAX_CLASSES;
        d->columns = 1U + HAD_FEATURES;
        d->width = 16U;
    }
    (void)ln;
}

static void next_field(had_decoder *d, const had_learner *ln) {
    d->field += 1U;
    /* With one layer no range is tracked: that field is empty, and has no bit. */
    if (HAD_LAYERS == 1U && d->field == 1U + 2U * HAD_LAYERS) {
        d->field += 1U;
    }
    if (d->field < HAD_FIELDS) {
        shape_field(d, ln);
        d->phase = PHASE_FIELD;
    } else {
        d->phase = d->exemplars > 0U ? PHASE_EXEMPLAR : PHASE_DONE;
    }
}

static void next_row(had_decoder *d, const had_learner *ln) {
    d->row += 1U;
    d->column = 0U;
    d->phase = PHASE_MODE;
    if (d->row == d->rows) {
        next_field(d, ln);
    }
}

static uint8_t *cell(const had_decoder *d, had_learner *ln) {
    uint8_t *data = had_field_of(ln, d->field).data;
    return data + (d->row * d->columns + d->column) * (d->width / 8U);
}

static void set_value(const had_decoder *d, had_learner *ln, uint32_t value) {
    uint8_t *at = cell(d, ln);
    for (uint32_t i = 0U; i < d->width / 8U; i++) {
        at[i] = (uint8_t)((value >> (8U * i)) & 0xFFU);
    }
}

#if HAD_KEEP_PROTOTYPES
/*
 * The number of samples of a class has become `count`: its sums are expected in proportion. |S| <= 15 n_c before, as in
 * every committed state, so |S| share <= 15 * 255 * 65536 < 2^28.
 */
static void expect_sums(const had_decoder *d, had_learner *ln, uint32_t before, uint32_t count) {
    if (d->field != HAD_FIELDS - 1U || d->column != 0U || before == count || before - 1U >= 255U ||
        count - 1U >= 255U) {
        return;
    }
    int16_t *sum = ln->working.prototype[d->row] + 1;
    int32_t share = (int32_t)((count << 16) / before);
    for (uint32_t j = 0U; j < HAD_FEATURES; j++) {
        sum[j] = (int16_t)had_rhu(sum[j] * share, 16U);
    }
}
#endif

/* Add a difference in zigzag form; only the low `width` bits count. */
static void add_zigzag(const had_decoder *d, had_learner *ln, uint32_t z) {
    const uint8_t *at = cell(d, ln);
    uint32_t value = 0U;
    for (uint32_t i = 0U; i < d->width / 8U; i++) {
        value |= (uint32_t)at[i] << (8U * i);
    }
    uint32_t changed = value + ((z >> 1) ^ (0U - (z & 1U)));
    set_value(d, ln, changed);
#if HAD_KEEP_PROTOTYPES
    expect_sums(d, ln, value, changed & 0xFFFFU);
#endif
}

static had_status head_token(had_decoder *d, had_learner *ln) {
    uint32_t word = take(d, 32U);
    if (d->phase == PHASE_VERSION) {
        uint32_t classes = word >> 16;
        ln->working.n_classes = classes;
        d->phase = PHASE_STEP;
        return (word & 0xFFFFU) == PAYLOAD_VERSION && classes >= 1U && classes <= HAD_MAX_CLASSES
                   ? HAD_OK
                   : HAD_ERR_FORMAT;
    }
    if (d->phase == PHASE_STEP) {
        ln->working.step = word;
        d->phase = PHASE_COUNTS;
        return HAD_OK;
    }
    d->exemplars = word & 0xFFFFU;
    d->coding = word >> 16;
    next_field(d, ln);
    return d->coding <= MAX_CODING ? HAD_OK : HAD_ERR_FORMAT;
}

static had_status parameters_token(had_decoder *d) {
    d->gap_k = 0U;
    if (d->mode == MODE_SPARSE) {
        d->gap_k = take(d, 5U);
    }
    d->k = take(d, 5U);
    d->phase = PHASE_VALUE;
    if (d->mode == MODE_SPARSE) {
        d->changes = take(d, 16U);
        d->phase = PHASE_GAP;
    }
    uint32_t sound = d->k <= MAX_K && d->gap_k <= MAX_K &&
                     (d->mode != MODE_SPARSE || (d->changes >= 1U && d->changes <= d->columns));
    return sound != 0U ? HAD_OK : HAD_ERR_FORMAT;
}

static void mode_token(had_decoder *d, const had_learner *ln) {
    d->mode = take(d, 2U);
    if (d->mode == MODE_UNCHANGED) {
        next_row(d, ln);
    } else {
        d->phase = d->mode == MODE_RAW ? PHASE_VALUE : PHASE_PARAMETERS;
    }
}

static void value_token(had_decoder *d, had_learner *ln) {
    if (d->mode == MODE_RAW) {
        set_value(d, ln, take(d, d->width));
    } else {
        add_zigzag(d, ln, take_rice(d, d->k));
    }
    d->column += 1U;
    if (d->column == d->columns) {
        next_row(d, ln);
    }
}

static had_status gap_token(had_decoder *d) {
    uint32_t gap = take_rice(d, d->gap_k);
    if (gap >= d->columns - d->column) {
        return HAD_ERR_FORMAT;
    }
    d->column += gap;
    d->phase = PHASE_CHANGE;
    return HAD_OK;
}

static had_status change_token(had_decoder *d, had_learner *ln) {
    add_zigzag(d, ln, take_rice(d, d->k) + 1U);
    d->column += 1U;
    d->changes -= 1U;
    d->phase = PHASE_GAP;
    if (d->changes == 0U) {
        next_row(d, ln);
    } else if (d->column == d->columns) {
        return HAD_ERR_FORMAT;
    } else {
        /* The next change is in this row. */
    }
    return HAD_OK;
}

static had_status exemplar_token(had_decoder *d, const had_learner *ln) {
    d->label = take(d, 8U);
    d->rank = take(d, 16U);
    d->value = 0U;
    d->phase = PHASE_EXEMPLAR_VALUE;
    return d->label < ln->working.n_classes && d->rank < HAD_RANK_STAGED ? HAD_OK : HAD_ERR_FORMAT;
}

/* Two values of x0 as they are packed. */
static had_status packed_pair(had_decoder *d, uint8_t *packed) {
    packed[d->value >> 1] = (uint8_t)take(d, 8U);
    d->value += 2U;
    return HAD_OK;
}

/* One value of x0 in rice code. */
static had_status coded_value(had_decoder *d, uint8_t *packed) {
    uint32_t code = take_rice(d, d->coding - 1U);
    uint32_t value = HAD_X0_SIGNED ? (code >> 1) ^ (0U - (code & 1U)) : code;
    uint8_t *at = packed + (d->value >> 1);
    uint32_t nibble = value & 0xFU;
    *at = (uint8_t)((d->value & 1U) == 0U ? nibble : (uint32_t)*at | (nibble << 4));
    d->value += 1U;
    return code <= 15U ? HAD_OK : HAD_ERR_FORMAT;
}

/* The arena is idle while a packet is open: an exemplar is put together in it. */
static had_status exemplar_value_token(had_decoder *d, had_learner *ln) {
    uint8_t *packed = ln->arena.bytes;
    had_status status = d->coding == 0U ? packed_pair(d, packed) : coded_value(d, packed);
    if (status != HAD_OK || d->value < HAD_X0_SIZE) {
        return status;
    }
    d->exemplars -= 1U;
    d->phase = d->exemplars > 0U ? PHASE_EXEMPLAR : PHASE_DONE;
    if (d->count == UINT32_MAX || had_x0_is_valid(packed) == 0U) {
        return HAD_ERR_FORMAT;
    }
    return had_exemplar_stage(&ln->exemplars, packed, d->label, d->rank);
}

static had_status dispatch(had_decoder *d, had_learner *ln) {
    switch (d->phase) {
    case PHASE_VERSION:
    case PHASE_STEP:
    case PHASE_COUNTS:
        return head_token(d, ln);
    case PHASE_FIELD:
        d->row = 0U;
        d->column = 0U;
        d->phase = PHASE_MODE;
        if (take(d, 1U) == 0U) {
            next_field(d, ln);
        }
        return HAD_OK;
    case PHASE_MODE:
        mode_token(d, ln);
        return HAD_OK;
    case PHASE_PARAMETERS:
        return parameters_token(d);
    case PHASE_VALUE:
        value_token(d, ln);
        return HAD_OK;
    case PHASE_GAP:
        return gap_token(d);
    case PHASE_CHANGE:
        return change_token(d, ln);
    case PHASE_EXEMPLAR:
        return exemplar_token(d, ln);
    case PHASE_EXEMPLAR_VALUE:
        return exemplar_value_token(d, ln);
    default:
        return HAD_ERR_FORMAT; /* bytes behind the end */
    }
}

static had_status token(had_decoder *d, had_learner *ln) {
    had_status status = dispatch(d, ln);
    return status == HAD_OK && d->count == UINT32_MAX ? HAD_ERR_FORMAT : status;
}

had_status had_decoder_feed(had_decoder *d, had_learner *ln, uint8_t byte) {
    had_status status = HAD_OK;
    d->bits |= (uint64_t)byte << d->count;
    d->count += 8U;
    while (status == HAD_OK && d->count > TOKEN_BITS) {
        status = token(d, ln);
    }
    return status;
}

had_status had_decoder_end(had_decoder *d, had_learner *ln) {
    had_status status = HAD_OK;
    while (status == HAD_OK && d->phase != PHASE_DONE) {
        status = token(d, ln);
    }
    return status == HAD_OK && (d->count >= 8U || d->bits != 0U) ? HAD_ERR_FORMAT : status;
}

#endif
