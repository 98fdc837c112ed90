/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Weight gradient and update of a trainable convolution, SPEC.md 14.3 b and c.
 *
 * Bounds: |acc| <= P Bpad 49 < 2^31 (codegen), times m < 2^15 in 64 bits. Bias: |g| <= P B 2^15 < 2^31.
 */
#include "../arithmetic/had_grow.h"
#include "../dense/had_row.h"
#include "../dense/had_update.h"
#include "../kernels/had_panel.h"
#include "had_conv_layer.h"
#include "hadapt/fwht.h"
#include "hadapt/random.h"

#ifdef HAD_CONV_LAYERS
static void transform(int32_t *row, const int16_t *d) {
    for (uint32_t b = 0U; b < HAD_BATCH_PADDED; b++) {
        row[b] = d[b];
    }
    had_fwht_row(row, HAD_BATCH_PADDED);
}

/* Errors of channel o at pixel p. */
static const int16_t *errors_of(const had_layer *layer, const int16_t *d, uint32_t o, uint32_t p) {
    return d + (p * layer->outputs + o) * HAD_BATCH_STRIDE;
}

void had_conv_row_range(had_learner *ln, const had_layer *layer, const int16_t *d, int32_t *row,
                        int32_t *amax, uint32_t begin, uint32_t end) {
    uint32_t pixels = had_out_pixels(&layer->conv->window);
    if (ln->step.flow[layer->index].d_max == 0) {
        return;
    }
    for (uint32_t at = begin; at < end; at++) {
        uint32_t o = at / pixels;
        uint32_t p = at % pixels;
        int32_t most = p == 0U ? 0 : amax[o];
        transform(row, errors_of(layer, d, o, p));
        for (uint32_t b = 0U; b < HAD_BATCH_PADDED; b++) {
            most = had_grow(most, row[b]);
        }
        amax[o] = most;
    }
}

/* Row r of a group's dt, from a transformed row. */
static void quantize_errors(had_learner *ln, const had_layer *layer, had_weight *dt, uint32_t r,
                            const int32_t *row, const had_quantizer *prepared, uint32_t index) {
    const had_quantizer q = *prepared;
    uint32_t key = had_tensor_key(ln->step.key, HAD_TENSOR_ERROR_WEIGHT(layer->index));
#if HAD_ORDER == 1
    for (uint32_t b = 0U; b < HAD_BATCH_PADDED; b++) {
        had_put_last(dt, b, r, had_quant_within(row[b], &q, had_draw8(key, index + b)));
    }
#else
    for (uint32_t b = 0U; b < HAD_BATCH_PADDED; b += 4U) {
        uint32_t word = had_mix(key + ((index + b) >> 2));
        int32_t v[4];
        for (uint32_t j = 0U; j < 4U; j++) {
            v[j] = had_quant_within(row[b + j], &q, word & 0xFFU);
            word >>= 8;
        }
        had_put_quad(dt, b, r, v);
    }
#endif
    HAD_COUNT(for (uint32_t b = 0U; b < HAD_BATCH_PADDED; b++) {
        int32_t value = had_quant_within(row[b], &q, had_draw8(key, index + b));
        had_tally_element(&ln->counters.layer[layer->index].tensor[HAD_T_DT], row[b] >> q.k,
                          -q.limit, q.limit, value);
    })
}

/* dt of `rows` channels from o on at pixel p; a bit for each row that is not all zero over the pixels. */
static uint32_t make_errors(had_learner *ln, const had_layer *layer, had_weight *dt, int32_t *row,
                            const int16_t *d, const int32_t *amax, uint32_t o, uint32_t rows,
                            uint32_t p) {
    uint32_t live = 0U;
    for (uint32_t r = 0U; r < HAD_ROWS; r++) {
        if (r >= rows || amax[o + r] == 0) {
            had_clear_row(dt, HAD_BATCH_PADDED, r);
            HAD_COUNT(if (r < rows) {
                had_tally_zeros(&ln->counters.layer[layer->index].tensor[HAD_T_DT],
                                HAD_BATCH_PADDED);
            })
            continue;
        }
        const had_quantizer q = had_quantizer_of(amax[o + r], 7U, HAD_QUANT_SHIFT);
        transform(row, errors_of(layer, d, o + r, p));
        quantize_errors(ln, layer, dt, r, row, &q, (p * layer->outputs + o + r) * HAD_BATCH_PADDED);
        live |= 1U << r;
    }
    return live;
}

#if !HAD_PANEL
/* Products of dt with `count` inputs from `first` on, added to acc, rows `terms` apart. */
static void add_products(int32_t *acc, uint32_t terms, const int8_t *xh, const had_weight *dt,
                         uint32_t first, uint32_t count, had_counted *counted) {
    xh += first * HAD_BATCH_STRIDE;
    for (uint32_t at = 0U; at < count; at += HAD_TAPS) {
        had_total out[HAD_ROWS * HAD_TAPS];
        counted->lanes = count - at < HAD_TAPS ? count - at : HAD_TAPS;
        had_dot_row(out, xh + at * HAD_BATCH_STRIDE, dt, HAD_BATCH_PADDED, counted);
        for (uint32_t r = 0U; r < HAD_ROWS; r++) {
            for (uint32_t t = 0U; t < counted->lanes; t++) {
                acc[r * terms + at + t] += out[r * HAD_TAPS + t];
            }
        }
    }
}
#elif defined(HAD_COUNTERS)
/* One by one: a panel's columns could not be counted from the middle of a block on. */
static void add_products(int32_t *acc, uint32_t terms, const int8_t *xh, const had_weight *dt,
                         uint32_t first, uint32_t count, had_counted *counted) {
    for (uint32_t r = 0U; r < HAD_ROWS; r++) {
        for (uint32_t at = 0U; (counted->row_bits >> r & 1U) != 0U && at < count; at++) {
            const int8_t *x = xh + (first + at) * HAD_BATCH_STRIDE;
            for (uint32_t k = 0U; k < HAD_BATCH_PADDED; k += HAD_TILE_K) {
                int32_t sum = 0;
                for (uint32_t b = k; b < HAD_BATCH_PADDED && b < k + HAD_TILE_K; b++) {
                    sum += x[b] * dt[r * HAD_PANEL_TERMS + b];
                }
                counted->tally->total += 1U;
                counted->tally->saturated += sum != had_saturate_acc(sum) ? 1U : 0U;
                acc[r * terms + at] += had_saturate_acc(sum);
            }
        }
    }
}
#else
/* The panel's blocks that hold the inputs wanted. */
static void add_products(int32_t *acc, uint32_t terms, const int8_t *xh, const had_weight *dt,
                         uint32_t first, uint32_t count, had_counted *counted) {
    uint32_t last = first + count;
    while (first < last) {
        int32_t out[8U * HAD_PANEL_CHUNK];
        uint32_t block = first / HAD_PANEL_BLOCK;
        uint32_t end = (block * HAD_PANEL_BLOCK + HAD_PANEL_CHUNK) < last
                           ? block * HAD_PANEL_BLOCK + HAD_PANEL_CHUNK
                           : last;
        const uint8_t *panel = (const uint8_t *)xh + block * HAD_BATCH_PADDED * HAD_PANEL_BLOCK;
        uint32_t blocks = (end + HAD_PANEL_BLOCK - 1U) / HAD_PANEL_BLOCK - block;
        had_panel_product(out, HAD_PANEL_CHUNK, panel, dt, HAD_BATCH_PADDED, blocks, counted);
        for (uint32_t r = 0U; r < 8U; r++) {
            const int32_t *from = out + r * HAD_PANEL_CHUNK + (first - block * HAD_PANEL_BLOCK);
            for (uint32_t at = 0U; at < end - first; at++) {
                acc[r * terms + at] += from[at];
            }
        }
        acc += end - first;
        first = end;
    }
}
#endif

/* What pixel p adds to the gradients of a group, at every window position that lies inside. */
static void add_pixel(had_learner *ln, const had_layer *layer, int32_t *acc, const int8_t *xh,
                      const had_weight *dt, uint32_t live, uint32_t group, uint32_t p) {
    const had_window *w = &layer->conv->window;
    had_span rows = had_rows(w, p / w->out_width);
    had_span columns = had_columns(w, p % w->out_width);
    had_counted counted = {live, 0U, 0, HAD_PRODUCT_TALLY(ln, layer->index, HAD_P_WEIGHT)};
    uint32_t channels = (uint32_t)w->in_channels / layer->conv->groups;
    uint32_t whole = w->dilation_width == 1U && layer->conv->groups == 1U ? 1U : 0U;
    uint32_t together = whole != 0U ? columns.last - columns.first : 1U;
    (void)ln;
    for (uint32_t i = rows.first; i < rows.last; i++) {
        uint32_t y = (uint32_t)(rows.start + (int32_t)(i * w->dilation_height));
        for (uint32_t j = columns.first; j < columns.last; j += together) {
            uint32_t x = (uint32_t)(columns.start + (int32_t)(j * w->dilation_width));
            uint32_t first = (y * w->in_width + x) * w->in_channels + group * channels;
            uint32_t k = (i * w->kernel_width + j) * channels;
            add_products(acc + k, layer->inputs, xh, dt, first, together * channels, &counted);
        }
    }
}

static void update_row(had_master *w, const int32_t *acc, const had_update *update,
                       uint32_t inputs) {
    for (uint32_t i = 0U; i < inputs; i++) {
        uint32_t word = had_mix(update->key + (i >> 1));
        uint32_t draw = (i & 1U) == 0U ? (word << 16) >> 2 : (word >> 16) << 14;
        int64_t sum = (int64_t)acc[i] * update->step.m + (int64_t)(draw >> update->round);
        int64_t next = w[i] - (sum >> update->step.sh);
        int64_t kept = next > HAD_MASTER_MAX ? HAD_MASTER_MAX : next;
        kept = kept < -HAD_MASTER_MAX ? -HAD_MASTER_MAX : kept;
        HAD_COUNT(update->tally->masters_saturated += next != kept ? 1U : 0U;)
        w[i] = (had_master)kept;
    }
}

/* Masters and bias of channel o, all pixels being in. */
static void finish_row(had_learner *ln, const had_layer *layer, const had_rates *rates,
                       const int16_t *d, const int32_t *acc, int32_t amax, uint32_t o) {
    uint32_t pixels = had_out_pixels(&layer->conv->window);
    const had_update update = had_update_of(ln, layer, rates, amax, o);
    int32_t gradient = 0;
    if (update.live != 0U) {
        update_row(ln->master + layer->master_at + o * layer->inputs, acc, &update, layer->inputs);
    }
    for (uint32_t p = 0U; p < pixels; p++) {
        const int16_t *errors = errors_of(layer, d, o, p);
        for (uint32_t b = 0U; b < HAD_BATCH; b++) {
            gradient += errors[b];
        }
    }
    had_bias_update(ln, layer, rates, gradient, o);
}

void had_conv_weight_gradient(had_learner *ln, const had_layer *layer, const int16_t *d,
                              const int8_t *xh, int32_t *row, had_weight *dt, int32_t *acc,
                              const int32_t *amax, uint32_t begin, uint32_t end) {
    uint32_t pixels = had_out_pixels(&layer->conv->window);
    uint32_t share = (uint32_t)layer->outputs / layer->conv->groups;
    uint32_t terms = layer->inputs;
    if (ln->step.flow[layer->index].d_max == 0) {
        return;
    }
    const had_rates rates = had_rates_of(ln, layer);
#if !defined(HAD_COUNTERS)
    xh = had_operand_rows(ln, xh, layer->in_values, begin);
#endif
    while (begin < end) {
        uint32_t o = begin / pixels;
        uint32_t p = begin % pixels;
        uint32_t whole = p == 0U ? (end - begin) / pixels : 0U; /* channels that fit in */
        uint32_t most = had_group_rows(o % share, share); /* rows of one group of the convolution */
        uint32_t rows = whole > most ? most : (whole > 0U ? whole : 1U);
        uint32_t last = whole > 0U || end - begin > pixels - p ? pixels : p + (end - begin);
        for (uint32_t k = 0U; p == 0U && k < HAD_ROWS * terms; k++) {
            acc[k] = 0;
        }
        begin += rows * (last - p);
        for (; p < last; p++) {
            uint32_t live = make_errors(ln, layer, dt, row, d, amax, o, rows, p);
            if (live != 0U && ln->step.activation_max > 0) {
                add_pixel(ln, layer, acc, xh, dt, live, o / share, p);
            }
        }
        for (uint32_t r = 0U; last == pixels && r < rows; r++) {
            finish_row(ln, layer, &rates, d, acc + r * terms, amax[o + r], o + r);
        }
    }
}
#else
typedef int had_conv_update_is_left_out; /* no convolution is trained */
#endif
