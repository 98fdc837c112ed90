# SPDX-License-Identifier: Apache-2.0
"""Typed commands of an inference-only device: SPEC.md 17 over any transport."""

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from device.harness.transport import Transport

COMMAND_SECONDS = 600.0

_INFO = struct.Struct("<16sIIHhhH")


@dataclass(frozen=True)
class NetworkInfo:
    """Answer of INFO: what the network is, and what its output stands for.

    Attributes:
        output_scale: mantissa and exponent (SPEC.md 1.4).
    """

    model_id: bytes
    inputs: int
    outputs: int
    output_scale: tuple[int, int]
    zero_point: int


class NetworkClient:
    """Commands of one device. Errors are those of the transport."""

    def __init__(self, transport: Transport, timeout_s: float = COMMAND_SECONDS) -> None:
        self._transport = transport
        self._timeout_s = timeout_s

    def info(self) -> NetworkInfo:
        """Sizes and scale."""
        reply = self._transport.exchange(0x01, b"", self._timeout_s)
        model_id, inputs, outputs, mantissa, exponent, zero, _ = _INFO.unpack(reply)
        return NetworkInfo(model_id, inputs, outputs, (mantissa, exponent), zero)

    def infer(self, raw: NDArray[np.int16]) -> NDArray[np.int8]:
        """Outputs int8 (outputs,) of one raw sample, int16 (inputs,)."""
        request = bytes(2) + np.ascontiguousarray(raw, "<i2").tobytes()
        return np.frombuffer(self._transport.exchange(0x02, request, self._timeout_s), np.int8)

    def infer_many(self, raw: NDArray[np.int16]) -> NDArray[np.int8]:
        """Outputs int8 (N, outputs) of raw samples (N, inputs)."""
        return np.stack([self.infer(sample) for sample in raw])
