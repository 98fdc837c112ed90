# SPDX-License-Identifier: Apache-2.0
"""Instructions of every call of an inference, in the very firmware that ships.

A kernel is called by the generated plan alone, so a call lasts from its function's first
instruction to that of the next kernel; the few instructions between two belong to the former.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from device.harness.boards import Board
from device.harness.client import DeviceClient
from device.harness.elf import read_symbols
from device.harness.errors import HarnessError
from device.harness.firmware import Firmware
from device.harness.unicorn_device import UnicornTransport


def inference_calls(
    firmware: Firmware, board: Board, kernels: Sequence[str], raw: NDArray[np.int16]
) -> list[int]:
    """Instructions of each call, in order; what comes before the first belongs to none.

    Args:
        kernels: C functions in the order of the plan (`codegen.inference.InferencePlan.calls`).
        raw: a raw sample, int16, shape (inputs,).
    Raises: ToolchainMissingError; HarnessError for a board that Unicorn cannot run, or if the
        firmware called anything else.
    """
    addresses = {s.name: s.address & ~1 for s in read_symbols(firmware.elf) if s.is_function}
    missing = sorted({name for name in kernels if name not in addresses})
    if missing:
        raise HarnessError(f"the firmware has no function {missing[0]}")
    with UnicornTransport(firmware.elf, board) as transport:
        transport.watch({addresses[name] for name in kernels})
        client = DeviceClient(transport)
        client.infer(raw)
        total = client.instructions()
        arrivals = transport.arrivals()
    if total is None or [at for at, _ in arrivals] != [addresses[name] for name in kernels]:
        raise HarnessError("the firmware's calls are not those of the plan")
    starts = [count for _, count in arrivals]
    return [end - start for start, end in zip(starts, [*starts[1:], total], strict=True)]
