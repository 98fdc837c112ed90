# SPDX-License-Identifier: Apache-2.0
"""Other libraries' figures, quoted: never measured by this project's commands.

They were taken once, before the project began, on the same QEMU boards with the same way of
counting: CMSIS-NN built with GCC 12.2 -O3 or zig 0.17.1 -O3, whichever was better (its M33 lies
within 1 %, its M7 within 2 % of the M4), AIfES with GCC -O3. Nothing of theirs is used here.
"""

from dataclasses import dataclass

CMSIS_NN = "CMSIS-NN"
AIFES = "AIfES 2.2.0"


@dataclass(frozen=True)
class Quote:
    """A quoted figure.

    Attributes:
        beside: model and figure of ours that it stands beside.
        source: library and function.
        values: core to value, in the unit of our figure.
        note: what is not the same.
    """

    beside: tuple[str, str]
    source: str
    values: dict[str, float]
    note: str = ""


SQUARE = "405-405-405-4 b32 int8"
SMALL = "64-32-10 b16 int8"
NO_TRAINING = "8-bit inference kernel; no training"

QUOTES: tuple[Quote, ...] = (
    Quote(
        (SQUARE, "forward_0"),
        f"{CMSIS_NN} mat_mult_nt_t_s8, 405x405, batch 32",
        {"M0": 6.08, "M3": 2.70, "M4": 1.65, "M55": 0.207},
        NO_TRAINING,
    ),
    Quote(
        (SQUARE, "forward_0"),
        f"{CMSIS_NN} mat_mult_nt_t_s4, 405x405, batch 32",
        {"M0": 8.45, "M3": 3.36, "M4": 3.14, "M55": 0.306},
        "4-bit weights, 8-bit activations",
    ),
    Quote(
        (SQUARE, "inference_per_mac"),
        f"{CMSIS_NN} fully_connected_s8, 405x405, batch 1",
        {"M0": 6.24, "M3": 3.43, "M4": 2.01, "M55": 0.189},
        NO_TRAINING,
    ),
    Quote(
        (SQUARE, "inference_per_mac"),
        f"{CMSIS_NN} fully_connected_s4, 405x405, batch 1",
        {"M0": 7.88, "M3": 4.26, "M4": 4.12, "M55": 0.420},
        "4-bit weights, 8-bit activations",
    ),
    Quote(
        (SMALL, "train_step"),
        f"{AIFES}, 64-32-10, batch 16, float32, hardware float on M4, M33 and M55",
        {"M0": 21_028_838, "M4": 1_047_955, "M33": 1_055_605, "M55": 945_967},
        "software float on M4: 9,569,511",
    ),
    Quote(
        (SMALL, "inference"),
        f"{AIFES}, 64-32-10, Q7",
        {"M0": 48_947, "M4": 32_896},
        "8-bit inference",
    ),
    Quote(
        (SMALL, "training_ram_bytes"),
        f"{AIFES}, 64-32-10, batch 16 at once, float32",
        {"M0": 37_024, "M4": 37_024},
        "parameters 9,640 and training 27,384 bytes; input data extra",
    ),
)
