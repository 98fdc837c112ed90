# SPDX-License-Identifier: Apache-2.0
"""Sources of the runtime that a folder does without: they would compile to nothing, or uncalled.

A source that is not named here always goes along.
"""

from codegen.emit.header import has_conv
from codegen.lower import Plan
from device.harness.boards import Board
from device.twin.model import IntModel

FRONT = ("conv", "elementwise", "pool")
TRAINED_CONVOLUTIONS = (
    "conv_error",
    "conv_forward",
    "conv_infer",
    "conv_layer",
    "conv_update",
    "groups_error",
    "pool_train",
)
# Kernels of layouts that no host has; with a device's layout they run on the host too, for tests.
DEVICE_LAYOUTS = (
    "dot_mve",
    "dsp",
    "dsp_masters",
    "dsp_product",
    "dsp_update",
    "dsp_values",
    "long",
    "long_thumb",
    "mve_rows",
    "octet",
    "octet_thumb",
    "packed",
    "packed_dsp",
    "packed_mve",
)
# A board's own build may set HAD_FIELD=1 (docs/how-to/port-to-a-board.md): only hosts go without.
FIELD = (
    "archive",
    "decoder",
    "envelope",
    "guard",
    "journal",
    "log",
    "node",
    "packet",
    "store",
    "wire_field",
)


def left_out(model: IntModel, plan: Plan, board: Board, field: bool) -> set[str]:
    """Paths of sources that the folder does without.

    Args:
        field: it is a field device (SPEC.md 12, 13).
    """
    names: tuple[str, ...] = ()
    names += () if model.has_image else FRONT
    names += () if has_conv(plan) else TRAINED_CONVOLUTIONS
    names += DEVICE_LAYOUTS if board.is_host else ()
    names += FIELD if board.is_host and not field else ()
    return {f"runtime/src/had_{name}.c" for name in names}
