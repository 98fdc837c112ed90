/* SPDX-License-Identifier: Apache-2.0 */
/* Averages and maxima over windows, SPEC.md 4.1. |acc| <= 127 kernel_h kernel_w; otherwise as had_conv.c. */
#include "had_window.h"

void had_average(int8_t *out, const int8_t *x, const had_average_node *node) {
    const had_window *at = &node->window;
    const had_prepared p = had_prepare(&node->out);
    for (uint32_t r = 0U; r < at->out_height; r++) {
        had_span rows = had_rows(at, r);
        for (uint32_t s = 0U; s < at->out_width; s++) {
            had_span columns = had_columns(at, s);
            for (uint32_t c = 0U; c < at->out_channels; c++) {
                int32_t acc = 0;
                for (uint32_t i = rows.first; i < rows.last; i++) {
                    for (uint32_t j = columns.first; j < columns.last; j++) {
                        acc += had_pixel(x, at, rows, columns, i, j)[c];
                    }
                }
                acc = had_rhu(acc, node->acc_shift) * node->mult;
                *out++ = had_requantize(&p, had_rhu(acc, node->shift));
            }
        }
    }
}

static int8_t larger(int8_t a, int8_t b) {
    return a > b ? a : b;
}

void had_max(int8_t *out, const int8_t *x, const had_max_node *node) {
    const had_window *at = &node->window;
    for (uint32_t r = 0U; r < at->out_height; r++) {
        had_span rows = had_rows(at, r);
        for (uint32_t s = 0U; s < at->out_width; s++) {
            had_span columns = had_columns(at, s);
            for (uint32_t c = 0U; c < at->out_channels; c++) {
                int8_t most = INT8_MIN;
                for (uint32_t i = rows.first; i < rows.last; i++) {
                    for (uint32_t j = columns.first; j < columns.last; j++) {
                        most = larger(most, had_pixel(x, at, rows, columns, i, j)[c]);
                    }
                }
                *out++ = most;
            }
        }
    }
}
