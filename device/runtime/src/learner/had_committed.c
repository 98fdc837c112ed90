/* SPDX-License-Identifier: Apache-2.0 */
/* The committed copy, SPEC.md 12.5. */
#include "../arithmetic/had_cold.h"

#include "had_committed.h"

#include <string.h>

#include "hadapt/flash.h"
#include "hadapt/infer.h"

static void swap_bytes(void *first, void *second, uint32_t bytes) {
    uint8_t *a = first;
    uint8_t *b = second;
    for (uint32_t i = 0U; i < bytes; i++) {
        uint8_t held = a[i];
        a[i] = b[i];
        b[i] = held;
    }
}

#if HAD_COMMITTED_IN_FLASH
#if !HAD_FIELD
#error "HAD_COMMITTED_IN_FLASH needs the flash of a field device: HAD_FIELD=1."
#endif
#define MASTER_BYTES (HAD_MASTER_BITS / 8U)
#define COMPARED_AT_ONCE 32U /* masters */

static uint32_t masters_of(const had_layer *layer) {
    return (uint32_t)layer->outputs * layer->inputs;
}

/* Address in flash of a layer's masters: behind the step, and masters and biases of the layers below. */
static uint32_t address_of(const had_learner *ln, const had_layer *layer) {
    uint32_t at = ln->committed_at + 4U;
    for (const had_layer *below = had_layers; below < layer; below++) {
        at += masters_of(below) * MASTER_BYTES + 4U * (uint32_t)below->outputs;
    }
    return at;
}

had_status had_committed_read(const had_learner *ln, had_master *dst, const had_layer *layer,
                              uint32_t first, uint32_t count) {
    uint32_t index = layer->master_at + first;
    if (ln->committed_at == HAD_AT_WORKING) {
        memmove(dst, ln->master + index, count * MASTER_BYTES);
        return HAD_OK;
    }
    if (ln->committed_at == HAD_AT_TABLES) {
        memcpy(dst, had_initial_master + index, count * MASTER_BYTES);
        return HAD_OK;
    }
    return had_flash_read((uint8_t *)dst, address_of(ln, layer) + first * MASTER_BYTES,
                          count * MASTER_BYTES);
}

void had_committed_take(had_learner *ln) {
    ln->committed = ln->working;
    ln->committed_at = HAD_AT_WORKING;
}

void had_committed_restore(had_learner *ln) {
    had_status status = HAD_OK;
    uint32_t view_is_lost = ln->unread;
    ln->working = ln->committed;
    ln->unread = 0U;
    for (uint32_t l = 0U; l < HAD_LAYERS && status == HAD_OK; l++) {
        const had_layer *layer = &had_layers[l];
        status =
            had_committed_read(ln, ln->master + layer->master_at, layer, 0U, masters_of(layer));
    }
    if (status != HAD_OK) {
        ln->unread = 1U;
    } else if (view_is_lost != 0U) {
        had_view_refresh(ln);
    }
}

const had_master *had_committed_row(had_learner *ln, const had_layer *layer, uint32_t o) {
    uint32_t first = o * layer->inputs;
    if (ln->committed_at == HAD_AT_WORKING) {
        return ln->master + layer->master_at + first;
    }
    if (ln->committed_at == HAD_AT_TABLES) {
        return had_initial_master + layer->master_at + first;
    }
    if (had_committed_read(ln, ln->arena.row, layer, first, layer->inputs) == HAD_OK) {
        return ln->arena.row;
    }
    ln->unread = 1U;
    return 0;
}

void had_committed_swap(had_learner *ln, uint32_t *at) {
    uint32_t held = ln->committed_at;
    swap_bytes(&ln->working, &ln->committed, (uint32_t)sizeof ln->working);
    ln->committed_at = *at;
    *at = held;
    had_view_refresh(ln);
}

static uint32_t layer_differs(const had_learner *ln, const had_layer *layer) {
    had_master part[COMPARED_AT_ONCE];
    uint32_t all = masters_of(layer);
    for (uint32_t first = 0U; first < all; first += COMPARED_AT_ONCE) {
        uint32_t count = all - first < COMPARED_AT_ONCE ? all - first : COMPARED_AT_ONCE;
        if (had_committed_read(ln, part, layer, first, count) != HAD_OK ||
            memcmp(part, ln->master + layer->master_at + first, count * MASTER_BYTES) != 0) {
            return 1U;
        }
    }
    return 0U;
}

uint32_t had_copies_differ(const had_learner *ln) {
    uint32_t differ = memcmp(&ln->working, &ln->committed, sizeof ln->working) != 0 ? 1U : 0U;
    for (uint32_t l = 0U; l < HAD_LAYERS && differ == 0U && ln->committed_at != HAD_AT_WORKING;
         l++) {
        differ = layer_differs(ln, &had_layers[l]);
    }
    return differ;
}
#else
void had_committed_take(had_learner *ln) {
    ln->committed = ln->working;
    memcpy(ln->committed_master, ln->master, sizeof ln->master);
}

void had_committed_restore(had_learner *ln) {
    ln->working = ln->committed;
    memcpy(ln->master, ln->committed_master, sizeof ln->master);
}

const had_master *had_committed_row(had_learner *ln, const had_layer *layer, uint32_t o) {
    return ln->committed_master + layer->master_at + o * layer->inputs;
}

void had_committed_swap(had_learner *ln, uint32_t *at) {
    (void)at;
    swap_bytes(&ln->working, &ln->committed, (uint32_t)sizeof ln->working);
    swap_bytes(ln->master, ln->committed_master, (uint32_t)sizeof ln->master);
    had_view_refresh(ln);
}

uint32_t had_copies_differ(const had_learner *ln) {
    return memcmp(&ln->working, &ln->committed, sizeof ln->working) != 0 ||
           memcmp(ln->master, ln->committed_master, sizeof ln->master) != 0;
}
#endif
