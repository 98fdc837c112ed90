# SPDX-License-Identifier: Apache-2.0
"""The sources as a library, and the example program that every layout brings.

A generated folder is sorted into headers that a program includes and sources that are compiled;
`port/`, which makes a firmware of its own of them, stays behind.
"""

from collections.abc import Mapping
from dataclasses import dataclass

PUBLIC = "runtime/include/"
PRIVATE = "runtime/src/"
UMBRELLA = "hadapt.h"


@dataclass(frozen=True)
class Library:
    """Paths below the folders of headers and of sources, which hold private headers too."""

    headers: Mapping[str, bytes]
    sources: Mapping[str, bytes]

    @property
    def compiled(self) -> tuple[str, ...]:
        """The C files, sorted."""
        return tuple(sorted(name for name in self.sources if name.endswith(".c")))

    def placed(self, headers: str, sources: str) -> dict[str, bytes]:
        """Files below the given folders; "" is the root, others end in a slash."""
        return {
            **{headers + name: content for name, content in self.headers.items()},
            **{sources + name: content for name, content in self.sources.items()},
        }


def library(files: Mapping[str, bytes]) -> Library:
    """Sort the files of codegen.generate.generate()."""
    headers = {UMBRELLA: umbrella()}
    sources: dict[str, bytes] = {}
    for path, content in files.items():
        if path.startswith(PUBLIC):
            headers[path.removeprefix(PUBLIC)] = content
        elif path.startswith(PRIVATE):
            sources[path.removeprefix(PRIVATE)] = content
        elif "/" not in path and path.endswith(".h"):
            headers[path] = content
        elif "/" not in path and path.endswith(".c"):
            sources[path] = content
    return Library(headers, sources)


def umbrella() -> bytes:
    """hadapt.h: the one header of a program, C or C++."""
    return b"""\
/* SPDX-License-Identifier: Apache-2.0 */
/* The learner and its wire protocol, for C and C++. hadapt/learner.h is the manual. */
#ifndef HADAPT_H
#define HADAPT_H

#include <stdint.h>

#ifdef __cplusplus
#ifndef _Static_assert /* some C libraries define it for C++ */
#define _Static_assert static_assert
#define HADAPT_STATIC_ASSERT
#endif
extern "C" {
#endif

#include "hadapt_config.h"

#include "hadapt/learner.h"
#include "hadapt/state.h"
#include "hadapt/status.h"
#include "hadapt/wire.h"

#ifdef __cplusplus
}
#ifdef HADAPT_STATIC_ASSERT
#undef _Static_assert
#undef HADAPT_STATIC_ASSERT
#endif
#endif

#endif
"""


def example(*, include: str, say: str, head: str, tail: str) -> bytes:
    """The example program: boot, classify, learn one sample, train in slices, commit, classify.

    Args:
        include: lines that bring the ecosystem's own headers.
        say: statement that prints `label` (uint32_t).
        head: the line that opens the program's entry.
        tail: the lines that close it.
    """
    return f"""\
/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Classify a sample, learn it, classify it again. The sample is made up: put a sensor's in its
 * place, one int16 a feature, little-endian, in the grid of manifest.json (raw_frac_bits).
 */
{include}#include <string.h>

#include "hadapt.h"

/* Work a slice of training may do before the program looks at its sensors again. */
#define SLICE_UNITS 2000U

static had_learner learner;
static uint8_t sample[2U * HAD_INPUTS];

static had_status classify(uint32_t *label) {{
    had_inference result;
    had_status status = had_infer(&learner, &result, sample, HAD_HEAD_LINEAR);
    if (status == HAD_OK) {{
        *label = result.label;
    }}
    return status;
}}

static had_status train(uint32_t steps) {{
    had_train_config config;
    memset(&config, 0, sizeof config); /* no distillation, rates from step 0 on */
    config.seed = 1U;
    config.steps = steps;
    config.sampling = HAD_SAMPLE_BALANCED;
    config.rates = 1U;
    config.rate[0].scale.mantissa = 20972; /* 20972 2^-20 = 0.02 */
    config.rate[0].scale.exponent = -20;
    had_status status = had_train_begin(&learner, &config);
    while (status == HAD_OK && had_steps_left(&learner) > 0U) {{
        had_train_report report;
        status = had_train(&learner, &report, SLICE_UNITS);
        /* read the sensors, answer an inference, sleep */
    }}
    return status;
}}

static had_status learn(uint32_t label) {{
    had_status status = had_learn(&learner, sample, label, 0U);
    if (status == HAD_OK) {{
        status = train(4U);
    }}
    return status == HAD_OK ? had_commit(&learner) : status;
}}

{head}
    uint32_t label = 0U;
    had_init(&learner);
    had_status status = classify(&label);
    if (status == HAD_OK) {{
        {say}
        status = learn(label);
    }}
    if (status == HAD_OK) {{
        status = classify(&label);
    }}
    if (status == HAD_OK) {{
        {say}
    }}
{tail}
""".encode()
