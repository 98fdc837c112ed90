/* SPDX-License-Identifier: Apache-2.0 */
/* Constant description of the network: the generated tables are of these types. */
#ifndef HADAPT_LAYER_H
#define HADAPT_LAYER_H

#include <stdint.h>

#include "hadapt/scale.h"
#include "hadapt_config.h"

/* A master weight, and its largest value; the smallest is minus that. */
#if HAD_MASTER_BITS == 8
typedef int8_t had_master;
#define HAD_MASTER_MAX 127
#else
typedef int16_t had_master;
#define HAD_MASTER_MAX 32767
#endif

/* A trainable layer, SPEC.md 5. */
typedef struct had_layer {
    had_scale scale;           /* s: the value of w is master * row_factor * s */
    const uint8_t *row_factor; /* outputs values */
    uint32_t master_at;        /* first element in had_learner.master */
    uint32_t bias_at;          /* first element in had_copy.bias */
    uint32_t view_at;          /* first word in had_view.words */
    int32_t in_amax;           /* initial frozen range of the input; 0 for layer 0 */
    uint16_t index;
    uint16_t inputs;
    uint16_t outputs;
    uint16_t outputs_padded; /* to a multiple of HAD_ORDER */
    uint8_t out_frac_bits;   /* fy */
    uint8_t forward_shift;   /* acc_shift of 5.2 */
    uint8_t error_shift;     /* ds of 6.3 a */
    uint8_t x_range;         /* sixteenths, 16 .. 255 */
    uint8_t w_range;
    uint8_t is_head;
#ifdef HAD_CONV_LAYERS
    uint16_t in_values;                /* of the vector it reads */
    uint16_t out_values;               /* of the vector the next layer reads */
    const struct had_conv_layer *conv; /* null: dense; otherwise inputs is K of SPEC.md 14 */
#endif
#ifdef HAD_RESIDUAL
    uint16_t
        reads; /* the layer whose input it reads: its own, but for a side layer; SPEC.md 14.6 */
    uint16_t below; /* the layer that makes this input, if it is not x0 */
    uint16_t next;  /* the layer that reads what it makes */
    uint8_t side;   /* its outputs are a shortcut */
    uint8_t adds;   /* it adds a shortcut to its outputs */
#endif
#ifdef HAD_FINE_INFERENCE
    uint8_t fine_shift;
#endif
} had_layer;

#ifdef HAD_CONV_LAYERS
/* Values of the vector that a layer reads. */
static inline uint32_t had_in_values(const had_layer *layer) {
    return layer->in_values;
}

/* Values of the vector that the next layer reads. */
static inline uint32_t had_out_values(const had_layer *layer) {
    return layer->out_values;
}

/* 1 for a dense layer, 0 for a convolution. */
static inline uint32_t had_is_dense(const had_layer *layer) {
    return layer->conv == 0 ? 1U : 0U;
}
#else
/* Values of the vector that a layer reads. */
static inline uint32_t had_in_values(const had_layer *layer) {
    return layer->inputs;
}

/* Values of the vector that the next layer reads. */
static inline uint32_t had_out_values(const had_layer *layer) {
    return layer->outputs;
}

/* 1 for a dense layer, 0 for a convolution. */
static inline uint32_t had_is_dense(const had_layer *layer) {
    (void)layer;
    return 1U;
}
#endif

#ifdef HAD_RESIDUAL
/* The layer whose input a layer reads. */
static inline uint32_t had_reads(const had_layer *layer) {
    return layer->reads;
}

/* The layer that makes it, if it is not x0. */
static inline uint32_t had_below(const had_layer *layer) {
    return layer->below;
}

/* The layer that reads what a layer makes. */
static inline uint32_t had_next(const had_layer *layer) {
    return layer->next;
}
#else
/* The layer whose input a layer reads. */
static inline uint32_t had_reads(const had_layer *layer) {
    return layer->index;
}

/* The layer that makes it, if it is not x0. */
static inline uint32_t had_below(const had_layer *layer) {
    return layer->index - 1U;
}

/* The layer that reads what a layer makes. */
static inline uint32_t had_next(const had_layer *layer) {
    return layer->index + 1U;
}
#endif

/* 1: the 4-bit input of a layer is in [0, 15]; 0: in [-7, 7]. */
#define HAD_IS_POSITIVE(layer) (had_reads(layer) > 0U || !HAD_X0_SIGNED ? 1U : 0U)

/* A frozen layer, SPEC.md 4. */
typedef struct had_frozen_layer {
    const int8_t *weight; /* outputs x inputs */
    const int32_t *bias;
    const int16_t *mult;
    const uint8_t *shift;
    int32_t out_amax;
    uint16_t inputs;
    uint16_t outputs;
    uint8_t acc_shift;
    uint8_t relu;
    uint8_t out_qmax; /* 127; the last one 15 with ReLU, 7 without */
} had_frozen_layer;

/* The input stage, SPEC.md 3. */
typedef struct had_input_stage {
    const int16_t *zero;
    const int16_t *mult;
    const uint8_t *shift;
    int32_t amax;
    uint16_t inputs;
    uint8_t is_signed;
    uint8_t out_qmax; /* 127 before frozen layers; otherwise 15, or 7 if signed */
} had_input_stage;

/* One operation of the training step, SPEC.md 8.6. */
typedef struct had_operation {
    uint32_t rows;
    uint32_t units; /* cost of a row */
} had_operation;

/* Generated tables (hadapt_tables.c, hadapt_plan.c). */
extern const uint8_t had_model_id[16];
#ifndef HAD_INFERENCE_ONLY /* SPEC.md 17: there are no others */
extern const had_layer had_layers[HAD_LAYERS];
extern const had_master had_initial_master[HAD_MASTER_COUNT];
extern const int32_t had_initial_bias[HAD_BIAS_COUNT];
extern const had_operation had_operations[HAD_OPERATIONS];
#if HAD_KEEP_PROTOTYPES
extern const int16_t had_initial_prototype[HAD_MAX_CLASSES][1U + HAD_FEATURES];
#endif
#if HAD_INITIAL_EXEMPLARS > 0
extern const uint8_t had_exemplar_label[HAD_INITIAL_EXEMPLARS];
extern const uint16_t had_exemplar_rank[HAD_INITIAL_EXEMPLARS];
extern const uint8_t had_exemplar_packed[HAD_INITIAL_EXEMPLARS][HAD_X0_BYTES];
#endif
#endif

#endif
