/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * QEMU TCG plugin: counts the guest instructions between the two markers of hadapt/port.h.
 *
 * It is loaded into QEMU (GPL-2.0), hence the second licence. Debian ships no header for plugins, so
 * the few functions used are declared here; they are QEMU's plugin interface, version 1.
 *
 * Results are left in a shared file mapped by the reader, so that they are there as soon as the
 * device has answered. Arguments: out=<file>, profile=on to count each instruction address too.
 */
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;

typedef struct qemu_info_t {
    const char *target_name;
    struct {
        int min;
        int cur;
    } version;
    bool system_emulation;
    struct {
        int smp_vcpus;
        int max_vcpus;
    } system;
} qemu_info_t;

enum { QEMU_PLUGIN_CB_NO_REGS = 0, QEMU_PLUGIN_INLINE_ADD_U64 = 0 };

extern void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id,
                                                  void (*cb)(qemu_plugin_id_t id,
                                                             struct qemu_plugin_tb *tb));
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
extern struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb,
                                                        size_t idx);
extern const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *insn);
extern size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *insn);
extern uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *insn);
extern void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *insn,
                                                   void (*cb)(unsigned int vcpu, void *userdata),
                                                   int flags, void *userdata);
extern void qemu_plugin_register_vcpu_insn_exec_inline(struct qemu_plugin_insn *insn, int op,
                                                       void *ptr, uint64_t imm);

#define EXPORT __attribute__((visibility("default")))

EXPORT int qemu_plugin_version = 1;
EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc, char **argv);

/* The file, as counter.py reads it: little-endian, naturally aligned. */
#define SLOTS 65536U
#define USED 0x100000000ULL

typedef struct slot {
    uint64_t pc;     /* address + USED, 0 if the slot is free */
    uint64_t live;   /* executions since the region began */
    uint64_t frozen; /* executions in the last whole region */
} slot;

typedef struct results {
    uint64_t regions; /* how many regions have ended */
    uint64_t last;    /* instructions of the last one */
    uint64_t total;   /* instructions of all */
    uint64_t lost;    /* addresses that found no slot */
    slot slots[SLOTS];
} results;

_Static_assert(sizeof(slot) == 24, "counter.py reads 24 bytes a slot");
_Static_assert(offsetof(results, slots) == 32, "counter.py reads slots at 32");

static const uint8_t arm_begin[2] = {0xC9, 0x46};
static const uint8_t arm_end[2] = {0xD2, 0x46};
static const uint8_t riscv_begin[4] = {0x13, 0x20, 0x10, 0x00};
static const uint8_t riscv_end[4] = {0x13, 0x20, 0x20, 0x00};

typedef struct marker {
    const uint8_t *bytes;
    size_t size;
} marker;

static marker marker_begin = {arm_begin, sizeof arm_begin};
static marker marker_end = {arm_end, sizeof arm_end};
static results *shared;
static uint64_t executed; /* since the start */
static uint64_t executed_at_begin;
static bool inside;
static bool profile;

static bool is_marker(const struct qemu_plugin_insn *insn, marker wanted) {
    return qemu_plugin_insn_size(insn) == wanted.size &&
           memcmp(qemu_plugin_insn_data(insn), wanted.bytes, wanted.size) == 0;
}

/* Open addressing by address; NULL if the table is full. */
static slot *find_slot(uint64_t pc) {
    for (uint32_t i = 0U; i < SLOTS; i++) {
        slot *found = &shared->slots[(pc / 2U + i) % SLOTS];
        if (found->pc == 0U || found->pc == pc + USED) {
            found->pc = pc + USED;
            return found;
        }
    }
    shared->lost++;
    return NULL;
}

/* Callbacks run before the instruction's own count is added, so `executed` leaves the marker out. */
static void on_begin(unsigned int vcpu, void *userdata) {
    (void)vcpu;
    (void)userdata;
    executed_at_begin = executed;
    inside = true;
    for (uint32_t i = 0U; profile && i < SLOTS; i++) {
        shared->slots[i].live = 0U;
    }
}

static void on_end(unsigned int vcpu, void *userdata) {
    (void)vcpu;
    (void)userdata;
    if (!inside) {
        return;
    }
    inside = false;
    shared->last = executed - executed_at_begin - 1U; /* less the begin marker itself */
    shared->total += shared->last;
    for (uint32_t i = 0U; profile && i < SLOTS; i++) {
        shared->slots[i].frozen = shared->slots[i].live;
    }
    shared->regions++;
}

static void count(struct qemu_plugin_insn *insn) {
    bool begin = is_marker(insn, marker_begin);
    if (begin || is_marker(insn, marker_end)) {
        qemu_plugin_register_vcpu_insn_exec_cb(insn, begin ? on_begin : on_end,
                                               QEMU_PLUGIN_CB_NO_REGS, NULL);
    }
    qemu_plugin_register_vcpu_insn_exec_inline(insn, QEMU_PLUGIN_INLINE_ADD_U64, &executed, 1U);
    slot *own = (profile && !begin) ? find_slot(qemu_plugin_insn_vaddr(insn)) : NULL;
    if (own != NULL) {
        qemu_plugin_register_vcpu_insn_exec_inline(insn, QEMU_PLUGIN_INLINE_ADD_U64, &own->live,
                                                   1U);
    }
}

static void on_translate(qemu_plugin_id_t id, struct qemu_plugin_tb *tb) {
    (void)id;
    for (size_t i = 0U; i < qemu_plugin_tb_n_insns(tb); i++) {
        count(qemu_plugin_tb_get_insn(tb, i));
    }
}

static bool map_results(const char *path) {
    int file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (file < 0 || ftruncate(file, (off_t)sizeof(results)) != 0) {
        return false;
    }
    void *mapped = mmap(NULL, sizeof(results), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    (void)close(file);
    shared = mapped == MAP_FAILED ? NULL : mapped;
    return shared != NULL;
}

EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc,
                               char **argv) {
    const char *out = NULL;
    for (int i = 0; i < argc; i++) {
        if (strncmp(argv[i], "out=", 4) == 0) {
            out = argv[i] + 4;
        } else if (strcmp(argv[i], "profile=on") == 0) {
            profile = true;
        }
    }
    if (strncmp(info->target_name, "riscv", 5) == 0) {
        marker_begin = (marker){riscv_begin, sizeof riscv_begin};
        marker_end = (marker){riscv_end, sizeof riscv_end};
    }
    if (out == NULL || !map_results(out)) {
        (void)fputs("hadapt count plugin: cannot map its out= file\n", stderr);
        return -1;
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translate);
    return 0;
}
