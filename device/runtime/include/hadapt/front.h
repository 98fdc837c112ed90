/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Nodes of the front, SPEC.md 4.1: 8-bit tensors, pixel by pixel, channels innermost.
 *
 * Each kernel takes the node's constants; input and output do not overlap, but for had_add and had_table, which
 * work in place too.
 */
#ifndef HADAPT_FRONT_H
#define HADAPT_FRONT_H

#include <stdint.h>

#include "hadapt/layer.h"

/* req of SPEC.md 4.1. */
typedef struct had_requant {
    int32_t amax;
    uint8_t qmax;
    uint8_t nonnegative; /* lo */
} had_requant;

/* Where a window of conv, average and max lies. */
typedef struct had_window {
    uint16_t in_height;
    uint16_t in_width;
    uint16_t in_channels;
    uint16_t out_height;
    uint16_t out_width;
    uint16_t out_channels;
    uint16_t kernel_height;
    uint16_t kernel_width;
    uint16_t stride_height;
    uint16_t stride_width;
    uint16_t dilation_height;
    uint16_t dilation_width;
    uint16_t pad_top;
    uint16_t pad_left;
} had_window;

/* A convolution; multipliers and shifts a channel. */
typedef struct had_conv_node {
    const int8_t *weight; /* out_channels x kernel_height x kernel_width x in_channels / groups */
    const int32_t *bias;
    const int16_t *mult;
    const uint8_t *shift;
    const uint8_t *acc_shift;
    had_window window;
    uint16_t groups;
    had_requant out;
} had_conv_node;

/* An average pool. */
typedef struct had_average_node {
    had_window window;
    int16_t mult;
    uint8_t shift;
    uint8_t acc_shift;
    had_requant out;
} had_average_node;

/* A maximum pool: in the grid of its input. */
typedef struct had_max_node {
    had_window window;
} had_max_node;

/* A sum of two tensors, each rescaled. */
typedef struct had_add_node {
    uint32_t size;
    int16_t mult_a;
    int16_t mult_b;
    uint8_t shift;
    had_requant out;
} had_add_node;

/* One part of a concat. */
typedef struct had_part_node {
    uint32_t pixels;
    uint16_t channels;     /* of the part */
    uint16_t out_channels; /* of the whole */
    uint16_t first;        /* channel of the whole */
    int16_t mult;
    uint8_t shift;
    had_requant out;
} had_part_node;

/* Any function of one value. */
typedef struct had_table_node {
    const int8_t *table; /* 256 values, by input + 128 */
    uint32_t size;
} had_table_node;

/* The input stage of a model with a front: `pixels` times the stage's channels, planar or not. */
void had_input_image(int8_t *out, const uint8_t *raw, const had_input_stage *stage, uint32_t pixels,
                     uint32_t planar);

/* One kernel a kind of node: out from x (and b), all of the tensor. */
void had_conv(int8_t *out, const int8_t *x, const had_conv_node *node);
void had_average(int8_t *out, const int8_t *x, const had_average_node *node);
void had_max(int8_t *out, const int8_t *x, const had_max_node *node);
void had_add(int8_t *out, const int8_t *a, const int8_t *b, const had_add_node *node);
void had_part(int8_t *out, const int8_t *x, const had_part_node *node);
void had_table(int8_t *out, const int8_t *x, const had_table_node *node);

#endif
