# SPDX-License-Identifier: Apache-2.0
"""Inference-only models: the whole network as 8-bit nodes, and their execution (SPEC.md 17)."""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device.twin.front import run_front
from device.twin.front_node import FrontNode, Shape3
from device.twin.kernels import IntArray
from device.twin.layers import input_stage
from device.twin.mfcc import Mfcc
from device.twin.model import InputStage, IntModel, RawSide
from device.twin.model_bytes import (
    HOSTILE,
    Arrays,
    ModelFormatError,
    fields,
    pack,
    tuples,
    unpack,
)
from device.twin.scale import Scale
from device.twin.signal import Signal, WindowStats, signal_features

MAGIC = b"HADINFER\x01\x00\x00\x00"


@dataclass(frozen=True)
class InferenceModel(RawSide):
    """A network that runs and does not learn.

    Attributes:
        name: of the model.
        input: its input stage; `scale` is that of tensor 0.
        front: all nodes; the last one's tensor is the output.
        output_scale: value of one step of the output; its zero point is 0.
        signal: what makes the input stage's values from a raw signal (SPEC.md 15).
    """

    name: str
    input: InputStage
    front: tuple[FrontNode, ...]
    output_scale: Scale
    signal: Signal | None = None

    @property
    def has_image(self) -> bool:
        """The input stage has an entry a channel."""
        return True

    @property
    def has_frozen_part(self) -> bool:
        """The input stage makes 8 bits."""
        return True

    @property
    def output_shape(self) -> Shape3:
        """(H, W, C) of the output."""
        return self.front[-1].out_shape

    @property
    def outputs(self) -> int:
        """Values in the output."""
        return self.front[-1].outputs

    @property
    def model_id(self) -> bytes:
        """16 bytes that name this model."""
        return hashlib.sha256(self.to_bytes()).digest()[:16]

    def to_bytes(self) -> bytes:
        """Serialise; the same model gives the same bytes."""
        return pack(MAGIC, self)

    @classmethod
    def from_bytes(cls, data: bytes) -> "InferenceModel":
        """Read what `to_bytes` wrote.

        Raises: ModelFormatError if the bytes are anything else, or the model breaks a rule.
        """
        from device.twin.check import check_inference

        try:
            model = _build(*unpack(MAGIC, data))
            check_inference(model)
        except ModelFormatError:
            raise
        except HOSTILE as error:
            raise ModelFormatError(f"not an integer model: {error}") from error
        return model


AnyModel = IntModel | InferenceModel
"""What firmware can be made of."""


def read_model(data: bytes) -> AnyModel:
    """Either kind of model from its bytes.

    Raises: ModelFormatError.
    """
    kind = InferenceModel if is_inference_only(data) else IntModel
    return kind.from_bytes(data)


def is_inference_only(data: bytes) -> bool:
    """Whether bytes of a model are those of one that does not learn."""
    return data.startswith(MAGIC)


def _build(doc: dict[str, Any], arrays: Arrays) -> InferenceModel:
    top = fields(doc, arrays)
    top["input"] = InputStage(**fields(doc["input"], arrays))
    top["front"] = tuple(FrontNode(**tuples(fields(node, arrays))) for node in doc["front"])
    if "signal" in doc:
        kind = Mfcc if doc["signal"].get("kind") == "mfcc" else WindowStats
        top["signal"] = kind(**fields(doc["signal"], arrays))
    return InferenceModel(**top)


def run(model: InferenceModel, raw: NDArray[np.int16]) -> IntArray:
    """Outputs int64 (N, outputs), in [-127, 127], of raw samples (N, inputs)."""
    if model.signal:
        raw = signal_features(model.signal, raw)
    x = input_stage(model.input, np.asarray(raw, np.int64), True)
    return run_front(model.front, x)
