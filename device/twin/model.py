# SPDX-License-Identifier: Apache-2.0
"""The integer model: every constant of a network, as SPEC.md 2 to 5 define it.

An `IntModel` is what the quantizer makes, the twin executes and the generator prints as C tables.
It is immutable; learning changes a `LearnerState`, never the model.
"""

import hashlib
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device.twin.arithmetic import Arithmetic as Arithmetic
from device.twin.arithmetic import Expansion as Expansion
from device.twin.arithmetic import SaturationMode as SaturationMode
from device.twin.conv_shape import ConvShape
from device.twin.front_node import FrontNode
from device.twin.mfcc import Mfcc
from device.twin.model_bytes import HOSTILE, Arrays, fields, pack, tuples, unpack
from device.twin.model_bytes import ModelFormatError as ModelFormatError
from device.twin.scale import Scale
from device.twin.signal import Signal, WindowStats

Int8Array = NDArray[np.int8]
UInt8Array = NDArray[np.uint8]
Int16Array = NDArray[np.int16]
UInt16Array = NDArray[np.uint16]
Int32Array = NDArray[np.int32]


@dataclass(frozen=True)
class InputStage:
    """Raw samples to 4-bit or 8-bit network inputs (SPEC.md 3).

    Attributes:
        raw_frac_bits: int16, shape (C,): raw = round(feature * 2**raw_frac_bits); may be negative.
            One number for all features unless a normaliser brings features of different size.
        zero: int16, shape (C,).
        mult: int16, shape (C,), in (-2**14, 2**14).
        shift: uint8, shape (C,), in [0, 30].
        amax: input_amax of the quantiser, at least 1.
        signed: whether the quantised input is signed.
        scale: value of one step of x0 (SPEC.md 2), with or without frozen layers.
        pixels: P of SPEC.md 4.1; without a front 1, and C is the number of inputs.
        planar: raw samples come channel by channel.
    """

    raw_frac_bits: Int16Array
    zero: Int16Array
    mult: Int16Array
    shift: UInt8Array
    amax: int
    signed: bool
    scale: Scale
    pixels: int = 1
    planar: bool = False

    def per_value(self, channels: NDArray[Any]) -> NDArray[Any]:
        """Numbers a channel (C,) as numbers a raw value (P C,), in the order of raw samples."""
        return np.repeat(channels, self.pixels) if self.planar else np.tile(channels, self.pixels)


class RawSide:
    """What raw samples of a model of either kind look like."""

    input: InputStage
    signal: Signal | None

    @property
    def inputs(self) -> int:
        """Values in a raw sample: of the signal if the device takes features of one."""
        return self.signal.inputs if self.signal else self.stage_values

    @property
    def stage_values(self) -> int:
        """Values that the input stage reads."""
        return int(self.input.zero.shape[0]) * self.input.pixels

    @property
    def raw_bits(self) -> Int16Array:
        """Fractional bits of every value of a raw sample, shape (inputs,)."""
        if self.signal:
            return self.signal.raw_bits
        return self.input.per_value(self.input.raw_frac_bits)


@dataclass(frozen=True)
class FrozenLayer:
    """An int8 layer that is not trained (SPEC.md 4).

    Attributes:
        weight: int8, shape (O, I), in [-127, 127].
        bias: int32, shape (O,), in the grid of the output.
        mult: int16, shape (O,); with `shift` (uint8, shape (O,)) the row's multiplier.
        relu: whether a ReLU follows.
        out_amax: range of the output quantiser, at least 1.
    """

    name: str
    weight: Int8Array
    bias: Int32Array
    mult: Int16Array
    shift: UInt8Array
    relu: bool
    out_amax: int


@dataclass(frozen=True)
class TrainableLayer:
    """A 4-bit layer with its initial masters (SPEC.md 5).

    Attributes:
        master: int16 array of masters (also for 8-bit masters), shape (O, I).
        bias: int32, shape (O,), in the grid 2**-(out_frac_bits + 16).
        row_factor: uint8, shape (O,), in [1, 255].
        scale: layer scale s; weight o, i is master * row_factor[o] * s.
        out_frac_bits: fy; the output grid is 2**-fy.
        relu: false for the head and for side layers.
        in_amax: initial frozen range of the layer's input (unused by layer 0).
        x_range, w_range: range factors in sixteenths, in [16, 255].
        conv: where its windows lie if it is a convolution (SPEC.md 14); then I is K.
        side: its outputs are the shortcut of a residual block (SPEC.md 14.6).
        adds: first layer of the block whose shortcut it adds; None: it adds none.
    """

    name: str
    master: Int16Array
    bias: Int32Array
    row_factor: UInt8Array
    scale: Scale
    out_frac_bits: int
    relu: bool
    in_amax: int
    x_range: int = 16
    w_range: int = 16
    conv: ConvShape | None = None
    side: bool = False
    adds: int | None = None

    @property
    def outputs(self) -> int:
        """Rows of the weights."""
        return int(self.master.shape[0])

    @property
    def inputs(self) -> int:
        """Columns of the weights."""
        return int(self.master.shape[1])

    @property
    def in_values(self) -> int:
        """Values of the vector it reads."""
        return self.conv.in_values if self.conv else self.inputs

    @property
    def out_values(self) -> int:
        """Values of the vector the next layer reads."""
        return self.conv.pooled_pixels * self.outputs if self.conv else self.outputs


@dataclass(frozen=True)
class Exemplar:
    """A stored sample (SPEC.md 8.1): label, rank, x0 as int8 of shape (I0,)."""

    label: int
    rank: int
    x0: Int8Array


@dataclass(frozen=True)
class IntModel(RawSide):
    """A whole integer model (SPEC.md 2).

    Attributes:
        n_classes: classes known at first; `max_classes` rows are reserved.
        distillation: whether the firmware can learn from its old outputs (SPEC.md 6.6).
        bias_correction: whether it can correct new classes' logits (SPEC.md 8.8).
        signal: what makes the input stage's values from a raw signal (SPEC.md 15).
        expansion: blocks of rows for tasks to come (SPEC.md 16).
        fine_inference: whether inference reads activations of twice four bits (SPEC.md 18).
        prototype_count, prototype_sum: initial prototypes, shapes (C,) and (C, features);
            empty arrays if `keep_prototypes` is false.
    """

    name: str
    arithmetic: Arithmetic
    input: InputStage
    frozen: tuple[FrozenLayer, ...]
    layers: tuple[TrainableLayer, ...]
    n_classes: int
    max_classes: int
    class_names: tuple[str, ...]
    exemplar_slots: int
    staging_slots: int
    per_class_limit: int = 0
    keep_prototypes: bool = False
    distillation: bool = False
    bias_correction: bool = False
    prototype_count: UInt16Array = field(default_factory=lambda: np.zeros(0, np.uint16))
    prototype_sum: Int16Array = field(default_factory=lambda: np.zeros((0, 0), np.int16))
    exemplars: tuple[Exemplar, ...] = ()
    front: tuple[FrontNode, ...] = ()
    signal: Signal | None = None
    expansion: Expansion | None = None
    fine_inference: bool = False

    @property
    def has_frozen_part(self) -> bool:
        """Whether the input stage makes 8 bits for a front or frozen layers, not x0."""
        return bool(self.front or self.frozen)

    @property
    def x0_size(self) -> int:
        """Values in x0."""
        return self.layers[0].in_values

    @property
    def has_image(self) -> bool:
        """Whether the input stage has an entry a channel."""
        return bool(self.front) or (not self.frozen and self.layers[0].conv is not None)

    @property
    def x0_signed(self) -> bool:
        """Whether x0 can be negative."""
        if self.frozen:
            return not self.frozen[-1].relu
        return not self.front[-1].nonnegative if self.front else self.input.signed

    @property
    def features(self) -> int:
        """Values in a feature vector: the head's input (SPEC.md 8.4)."""
        return self.layers[-1].inputs

    @property
    def model_id(self) -> bytes:
        """16 bytes that name this model: shapes, constants, frozen part, initial weights."""
        return hashlib.sha256(self.to_bytes()).digest()[:16]

    def to_bytes(self) -> bytes:
        """Serialise; the same model gives the same bytes."""
        return pack(_MAGIC, self)

    @classmethod
    def from_bytes(cls, data: bytes) -> "IntModel":
        """Read what `to_bytes` wrote.

        Raises: ModelFormatError if the bytes are anything else, or if the model breaks a rule of
            SPEC.md (`device.twin.check`).
        """
        from device.twin.check import check_model

        if data.startswith(b"HADINFER"):
            raise ModelFormatError("an inference-only model: nothing in it learns (SPEC.md 18)")
        try:
            model = _build(*unpack(_MAGIC, data))
            check_model(model)
        except ModelFormatError:
            raise
        except HOSTILE as error:
            raise ModelFormatError(f"not an integer model: {error}") from error
        return model

    def with_arithmetic(self, **changes: Any) -> "IntModel":
        """Other arithmetic constants (not master_bits)."""
        if "master_bits" in changes:
            raise ValueError("master_bits is fixed when a model is quantized")
        return replace(self, arithmetic=replace(self.arithmetic, **changes))


_MAGIC = b"HADMODEL\x01\x00\x00\x00"


def _layer(values: dict[str, Any]) -> TrainableLayer:
    if "conv" in values:
        values["conv"] = ConvShape(**tuples(values["conv"]))
    return TrainableLayer(**values)


def _build(doc: dict[str, Any], arrays: Arrays) -> IntModel:
    top = fields(doc, arrays)
    top["arithmetic"] = Arithmetic(**doc["arithmetic"])
    top["input"] = InputStage(**fields(doc["input"], arrays))
    top["frozen"] = tuple(FrozenLayer(**fields(layer, arrays)) for layer in doc["frozen"])
    top["layers"] = tuple(_layer(fields(layer, arrays)) for layer in doc["layers"])
    if "front" in doc:
        top["front"] = tuple(FrontNode(**tuples(fields(node, arrays))) for node in doc["front"])
    if "signal" in doc:
        kind = Mfcc if doc["signal"].get("kind") == "mfcc" else WindowStats
        top["signal"] = kind(**fields(doc["signal"], arrays))
    if "expansion" in doc:
        top["expansion"] = Expansion(**tuples(doc["expansion"]))
    top["exemplars"] = tuple(Exemplar(**fields(item, arrays)) for item in doc["exemplars"])
    top["class_names"] = tuple(doc["class_names"])
    return IntModel(**top)
