/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The learner, SPEC.md 8: everything it needs is in one had_learner, owned by the caller.
 *
 * Two copies of the state: `committed` answers inferences, `working` learns. Training runs in slices and
 * may be interrupted by inferences at any slice boundary. A function that fails changes nothing, unless
 * it says otherwise. Not reentrant: one caller at a time per learner.
 */
#ifndef HADAPT_LEARNER_H
#define HADAPT_LEARNER_H

#include <stdint.h>

#include "hadapt/core.h"
#include "hadapt/counters.h"
#include "hadapt/layer.h"
#include "hadapt/quant.h"
#include "hadapt/sha256.h"
#include "hadapt/status.h"

/* Slots of samples in all, and what is allocated: arrays of none would be no C. */
#define HAD_SLOTS ((uint32_t)HAD_EXEMPLAR_SLOTS + (uint32_t)HAD_STAGING_SLOTS)
#define HAD_SLOTS_ALLOCATED (HAD_SLOTS > 0U ? HAD_SLOTS : 1U)
#define HAD_FEATURE_BYTES ((HAD_FEATURES + 1U) / 2U) /* packed features of herding */
#define HAD_RANK_STAGED 0x8000U                      /* rank bit of samples not yet committed */
#define HAD_SCHEDULE_MAX 4U                          /* rates of a session */
#define HAD_STATE_HEADER_BYTES 32U                   /* of exported state bytes */

_Static_assert(HAD_SLOTS <= 65535U, "slots are counted in 16 bits");
_Static_assert(HAD_INITIAL_EXEMPLARS <= HAD_SLOTS, "the model's exemplars need slots");

/* Of the logits of classes first .. last - 1 in inference, SPEC.md 8.8. */
typedef struct had_correction {
    uint16_t first;
    uint16_t last;
    int16_t alpha; /* Q12 */
    int16_t beta;  /* in the grid of the logits */
} had_correction;

/* 1: the committed masters are read from flash, not kept in RAM; field devices only, SPEC.md 12.5. */
#ifndef HAD_COMMITTED_IN_FLASH
#define HAD_COMMITTED_IN_FLASH 0
#endif
#define HAD_AT_TABLES UINT32_MAX         /* committed masters: those of the model's tables */
#define HAD_AT_WORKING (UINT32_MAX - 1U) /* those of the working copy, and nowhere else */

/* What learning changes, and a commit makes current; its masters are apart. */
typedef struct had_copy {
    uint32_t step;
    uint32_t n_classes;
    int32_t tracked[HAD_LAYERS]; /* of the inputs of layers 1 ..; [0] is not used */
    int32_t bias[HAD_BIAS_COUNT];
#if HAD_BIAS_CORRECTION
    had_correction correction;
#endif
#if HAD_KEEP_PROTOTYPES
    int16_t prototype[HAD_MAX_CLASSES][1U + HAD_FEATURES]; /* n_c, then S_c */
#endif
} had_copy;

/* The committed network as inference reads it; derived from `committed`. */
typedef struct had_view {
    had_quantizer x[HAD_LAYERS]; /* of the inputs of layers 1 ..; [0] is not used */
#ifdef HAD_RESIDUAL
    had_scale x_scale[HAD_LAYERS]; /* of the inputs that layers read */
#endif
    uint16_t mult[HAD_BIAS_COUNT]; /* M_o of SPEC.md 5.2 */
    uint8_t shift[HAD_BIAS_COUNT];
    uint32_t words[HAD_VIEW_WORDS]; /* 4-bit weights in groups of eight rows: see hadapt/dot.h */
} had_view;

/*
 * Free; known to the committed state; staged for the next commit; committed, but out of the order while the
 * guard looks at what a commit would keep.
 */
enum had_slot_state { HAD_SLOT_FREE, HAD_SLOT_COMMITTED, HAD_SLOT_STAGED, HAD_SLOT_ASIDE };

/* Stored samples, SPEC.md 8.1. */
typedef struct had_exemplars {
    uint32_t count;
    uint32_t hint;                       /* where the search for a free slot starts */
    uint16_t order[HAD_SLOTS_ALLOCATED]; /* slots in canonical order, `count` of them */
    uint16_t rank[HAD_SLOTS_ALLOCATED];
    uint16_t class_start[HAD_MAX_CLASSES + 1U]; /* into order */
#if HAD_DISTILLATION
    uint16_t part_start[HAD_MAX_CLASSES]; /* what a session draws from, into order */
    uint16_t part_count[HAD_MAX_CLASSES];
    uint32_t part_total;
#endif
    uint8_t label[HAD_SLOTS_ALLOCATED];
    uint8_t state[HAD_SLOTS_ALLOCATED];
    uint8_t packed[HAD_SLOTS_ALLOCATED][HAD_X0_BYTES];
} had_exemplars;

/* One stage of a learning-rate schedule. */
typedef struct had_rate {
    uint32_t start; /* first session step it holds for */
    had_scale scale;
} had_rate;

/* The last two, of new samples alone, only with HAD_DISTILLATION; SPEC.md 8.2. */
enum had_sampling {
    HAD_SAMPLE_UNIFORM,
    HAD_SAMPLE_BALANCED,
    HAD_SAMPLE_NEW_UNIFORM,
    HAD_SAMPLE_NEW_BALANCED
};

/* Added to a sampling: a fresh block of rows learns, and the head; SPEC.md 16. */
#define HAD_SAMPLE_EXPANDS 4U

/* What a session is to do. */
typedef struct had_train_config {
    uint32_t seed;
    uint32_t steps;    /* at least 1 */
    uint32_t sampling; /* enum had_sampling, and HAD_SAMPLE_EXPANDS where the session grows */
    uint32_t rates;    /* 1 .. HAD_SCHEDULE_MAX */
    uint32_t distill;  /* weight in 1/256, SPEC.md 6.6; 0: none */
    uint32_t soften;   /* log2 of the temperature */
    uint32_t hold;     /* hold-out, SPEC.md 8.8; 0: none */
    had_rate rate[HAD_SCHEDULE_MAX];
} had_train_config;

/* What a call of had_train did, and how the session stands. */
typedef struct had_train_report {
    uint32_t units;      /* used by this call */
    uint32_t steps_left; /* of the session */
    uint32_t samples;    /* seen in completed steps since had_train_begin */
    uint32_t correct;
    uint32_t confidence; /* sum of p[label] >> 8 */
} had_train_report;

/* The training session and the place in the current step. */
typedef struct had_session {
    had_train_config config;
    uint32_t active;
    uint32_t done; /* steps of the session */
    uint32_t operation;
    uint32_t row;
    uint32_t samples;
    uint32_t correct;
    uint32_t confidence;
#ifdef HAD_EXPANSIONS
    uint32_t block; /* that learns, where the session grows */
#endif
#if HAD_DISTILLATION
    uint32_t old_classes;  /* of the teacher; 0: no distillation */
    uint32_t targets_left; /* samples whose targets are still to be taken */
#endif
} had_session;

/* What a step knows of a layer while it runs. */
typedef struct had_flow {
    had_scale x_scale; /* of the 4-bit input */
    had_scale d_scale; /* of the error at the output */
    int32_t y_max;     /* largest output of the batch, at least 0 */
    int32_t d_max;     /* largest error magnitude; 0: the layer is left as it is */
} had_flow;

#ifdef HAD_RESIDUAL
/* Factors of the two errors that meet at a block's input, SPEC.md 14.6. */
typedef struct had_joining {
    had_multiplier own;
    had_multiplier other;
} had_joining;
#endif

/* The step that runs. */
typedef struct had_step {
    had_flow flow[HAD_LAYERS];
    had_scale rate;
    uint32_t key;     /* had_step_key of this step */
    uint32_t correct; /* of the batch */
    uint32_t confidence;
    /* of the layer whose backward operations run: */
    int32_t error_max;
    int32_t weight_max;
    int32_t activation_max;
    had_quantizer error;
    had_quantizer weight;
    had_quantizer activation;
    had_scale error_scale;      /* s1 */
    had_scale activation_scale; /* s4 */
#ifdef HAD_RESIDUAL
    had_flow side; /* error that a side layer makes of its input, SPEC.md 14.6 */
    had_joining joining;
#endif
} had_step;

/* A state that is being read. */
typedef struct had_import {
    had_sha256 sha;
    uint32_t received;
    uint8_t header[HAD_STATE_HEADER_BYTES];
    uint8_t digest[HAD_SHA256_BYTES];
} had_import;

/* Herding's memory; shares its place with the training arena, which is idle at a commit. */
typedef struct had_herd {
    int32_t mean[HAD_FEATURES];   /* mu of SPEC.md 8.4 */
    int32_t target[HAD_FEATURES]; /* 2 T */
#if HAD_LAYERS > 1
    uint8_t features[HAD_SLOTS_ALLOCATED][HAD_FEATURE_BYTES];
#endif
} had_herd;

/* Memory of training, of a commit and of an import, which never run together. */
typedef union had_arena {
    uint8_t bytes[HAD_ARENA_BYTES]; /* laid out by the generated plan */
    uint64_t align;
    had_herd herd;
    had_import import;
#if HAD_COMMITTED_IN_FLASH
    had_master row[HAD_LONGEST_ROW]; /* of the committed copy, on its way into the view */
#endif
} had_arena;

#define HAD_PANEL_BLOCK 32U /* columns of a block of the operand that vector kernels take */

/* What is being read into the working copy; 0: nothing. */
enum had_importing { HAD_IMPORTING_STATE = 1, HAD_IMPORTING_PACKET = 2 };

/* All memory that learning takes. */
typedef struct had_learner {
    had_copy working;
    had_master master[HAD_MASTER_COUNT]; /* of the working copy */
    had_copy committed;
#if HAD_COMMITTED_IN_FLASH
    uint32_t committed_at; /* flash address of the committed payload (SPEC.md 12.2), or HAD_AT_ */
    uint32_t unread; /* flash failed: working copy or view is in pieces until a rollback succeeds */
#else
    had_master committed_master[HAD_MASTER_COUNT];
#endif
    had_view view;
    had_exemplars exemplars;
#if HAD_DISTILLATION
    union {
        uint8_t target[HAD_SLOTS_ALLOCATED][HAD_MAX_CLASSES]; /* by slot, SPEC.md 6.6 */
#if HAD_BIAS_CORRECTION
        /* Logits of held-out samples, at most half of all; a commit needs no targets. */
        int16_t held[(HAD_SLOTS_ALLOCATED + 1U) / 2U][HAD_MAX_CLASSES];
#endif
    };
#endif
    had_session session;
    had_step step;
    had_arena arena;
    uint64_t infer[(HAD_INFER_BYTES + 7U) / 8U]; /* inference never touches the arena */
#if HAD_PANEL
    uint8_t panel[HAD_PANEL_BYTES]; /* operand of the product that runs, see had_panel.h */
#endif
    uint32_t trained;   /* a step was trained since the last commit */
    uint32_t importing; /* enum had_importing */
#ifdef HAD_COUNTERS
    had_counters counters;
#endif
} had_learner;

/* Answer of had_infer. */
typedef struct had_inference {
    uint32_t label;
    uint32_t n_classes;
    const int16_t *logits; /* n_classes values, valid until the next call; null for nearest mean */
} had_inference;

/* What turns features into a class. */
enum had_head { HAD_HEAD_LINEAR, HAD_HEAD_NEAREST_MEAN };

/* Start from the model's tables. */
void had_init(had_learner *ln);

/*
 * Classify one raw sample: 2 * HAD_INPUTS bytes, int16 little-endian. Uses the committed network only.
 * HAD_ERR_ARGUMENT: unknown head. HAD_ERR_STATE: nearest mean without prototypes.
 */
HAD_CHECKED had_status had_infer(had_learner *ln, had_inference *out, const uint8_t *raw,
                                 uint32_t head);

/*
 * Store a sample for training, and add it to the prototypes; prototype_only: the latter alone.
 * HAD_ERR_ARGUMENT: label. HAD_ERR_STATE: training under way. HAD_ERR_FULL: no free slot.
 */
HAD_CHECKED had_status had_learn(had_learner *ln, const uint8_t *raw, uint32_t label,
                                 uint32_t prototype_only);

/* The same from a packed x0 of HAD_X0_BYTES; HAD_ERR_ARGUMENT also for values that x0 cannot have. */
HAD_CHECKED had_status had_learn_x0(had_learner *ln, const uint8_t *packed, uint32_t label,
                                    uint32_t prototype_only);

/* One class more. HAD_ERR_FULL: all are in use. HAD_ERR_STATE: training under way. */
HAD_CHECKED had_status had_add_class(had_learner *ln, uint32_t *label);

/*
 * Open a training session. HAD_ERR_ARGUMENT: config, or what it asks for is not compiled in.
 * HAD_ERR_STATE: one is under way, or there are no samples to draw from. HAD_ERR_FULL: no block is left.
 * HAD_ERR_IO: the committed masters are in the working copy alone, for the last save has failed: save first.
 */
HAD_CHECKED had_status had_train_begin(had_learner *ln, const had_train_config *config);

/*
 * Run rows until `budget` units are used or the session is done; overshoots by less than one row.
 * HAD_ERR_STATE: no session.
 */
HAD_CHECKED had_status had_train(had_learner *ln, had_train_report *report, uint32_t budget);

/* Make the working state current. HAD_ERR_STATE: training steps are left, or an import is open. */
HAD_CHECKED had_status had_commit(had_learner *ln);

#if HAD_BIAS_CORRECTION
/*
 * Commit, and fit the correction in `steps` steps to the samples that `hold` holds out, SPEC.md 8.8.
 * HAD_ERR_ARGUMENT: hold outside 1 .. 7, or steps outside 1 .. 255. Otherwise as had_commit.
 */
HAD_CHECKED had_status had_commit_corrected(had_learner *ln, uint32_t hold, uint32_t steps);
#endif

/*
 * Back to the committed state; staged samples are dropped, session and import end. Where committed masters are in
 * flash and it cannot be read, everything answers HAD_ERR_IO until a rollback succeeds.
 */
void had_rollback(had_learner *ln);

/* Steps left in the session; 0 without one. */
uint32_t had_steps_left(const had_learner *ln);

/* HAD_ERR_STATE while training or an import is under way: most operations cannot run then. HAD_ERR_IO: see had_rollback. */
HAD_CHECKED had_status had_idle(const had_learner *ln);

/* HAD_ERR_STATE in mid-step or while an import is open: the working copy is then in pieces. HAD_ERR_IO: see had_rollback. */
HAD_CHECKED had_status had_between_steps(const had_learner *ln);

#endif
