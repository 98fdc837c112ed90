# SPDX-License-Identifier: Apache-2.0
"""The integer model: every constant of a network, as SPEC.md 2 to 5 define it.

An `IntModel` is what the quantizer makes, the twin executes and the generator prints as C tables.
It is immutable; learning changes a `LearnerState`, never the model.
"""

import hashlib
import io
import json
from dataclasses import asdict, dataclass, field, replace
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device.twin.arithmetic import Arithmetic as Arithmetic
from device.twin.arithmetic import Expansion as Expansion
from device.twin.arithmetic import SaturationMode as SaturationMode
from device.twin.conv_shape import ConvShape
from device.twin.front_node import FrontNode
from device.twin.mfcc import Mfcc
from device.twin.scale import Scale
from device.twin.signal import Signal, WindowStats

Int8Array = NDArray[np.int8]
UInt8Array = NDArray[np.uint8]
Int16Array = NDArray[np.int16]
UInt16Array = NDArray[np.uint16]
Int32Array = NDArray[np.int32]


class ModelFormatError(ValueError):
    """The bytes are not an integer model of this version."""


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
        relu: false for the head only.
        in_amax: initial frozen range of the layer's input (unused by layer 0).
        x_range, w_range: range factors in sixteenths, in [16, 255].
        conv: where its windows lie if it is a convolution (SPEC.md 14); then I is K.
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
class IntModel:
    """A whole integer model (SPEC.md 2).

    Attributes:
        n_classes: classes known at first; `max_classes` rows are reserved.
        distillation: whether the firmware can learn from its old outputs (SPEC.md 6.6).
        bias_correction: whether it can correct new classes' logits (SPEC.md 8.8).
        signal: what makes the input stage's values from a raw signal (SPEC.md 15).
        expansion: blocks of rows for tasks to come (SPEC.md 16).
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
        arrays: dict[str, NDArray[Any]] = {}
        header = json.dumps(_describe(self, "", arrays), sort_keys=True).encode()
        out = io.BytesIO()
        out.write(_MAGIC + len(header).to_bytes(4, "little") + header)
        for key in sorted(arrays):
            out.write(np.ascontiguousarray(arrays[key]).tobytes())
        return out.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> "IntModel":
        """Read what `to_bytes` wrote.

        Raises: ModelFormatError if the bytes are anything else, or if the model breaks a rule of
            SPEC.md (`device.twin.check`).
        """
        from device.twin.check import check_model

        try:
            model = _read_model(data)
            check_model(model)
        except ModelFormatError:
            raise
        except _HOSTILE as error:
            raise ModelFormatError(f"not an integer model: {error}") from error
        return model

    def with_arithmetic(self, **changes: Any) -> "IntModel":
        """Other arithmetic constants (not master_bits)."""
        if "master_bits" in changes:
            raise ValueError("master_bits is fixed when a model is quantized")
        return replace(self, arithmetic=replace(self.arithmetic, **changes))


_MAGIC = b"HADMODEL\x01\x00\x00\x00"
# What bytes that are no model can set off on the way to becoming one.
_WRONG = (LookupError, ValueError, TypeError, AttributeError)
_HOSTILE = (*_WRONG, ArithmeticError, RecursionError)
_DTYPES = {"int8", "uint8", "int16", "uint16", "int32"}
# Fields that came later: left out where they say nothing, so that older models keep their bytes.
_LEFT_OUT = {
    "front": (),
    "signal": None,
    "expansion": None,
    "pixels": 1,
    "planar": False,
    "distillation": False,
    "bias_correction": False,
    "conv": None,
}
_LEFT_OUT_OF_CONV = {"groups": 1, "top": 0}


def _describe(value: Any, path: str, arrays: dict[str, NDArray[Any]]) -> Any:
    """JSON form of a dataclass; arrays are moved to `arrays` and named by their path."""
    if isinstance(value, np.ndarray):
        arrays[path] = value
        return {"array": path, "dtype": str(value.dtype), "shape": list(value.shape)}
    if isinstance(value, Scale):
        return [value.mantissa, value.exponent]
    if isinstance(value, Arithmetic):
        return asdict(value)
    if isinstance(value, tuple):
        return [_describe(item, f"{path}/{i:05d}", arrays) for i, item in enumerate(value)]
    if hasattr(value, "__dataclass_fields__"):
        silent = _LEFT_OUT_OF_CONV if isinstance(value, ConvShape) else _LEFT_OUT
        return {
            name: _describe(getattr(value, name), f"{path}/{name}", arrays)
            for name in value.__dataclass_fields__
            if name not in silent or getattr(value, name) != silent[name]
        }
    return value


def _read_model(data: bytes) -> IntModel:
    if not data.startswith(_MAGIC):
        raise ModelFormatError("not an integer model: the first bytes are not HADMODEL version 1")
    start = len(_MAGIC) + 4
    size = int.from_bytes(data[len(_MAGIC) : start], "little")
    doc = json.loads(data[start : start + size].decode())
    specs: dict[str, tuple[str, tuple[int, ...]]] = {}
    _collect(doc, specs)
    arrays: dict[str, NDArray[Any]] = {}
    at = start + size
    for key in sorted(specs):
        dtype, shape = specs[key]
        end = at + prod(shape) * np.dtype(dtype).itemsize
        if end > len(data):
            raise ModelFormatError("not an integer model: it is cut short")
        arrays[key] = np.frombuffer(data[at:end], dtype).reshape(shape)
        at = end
    if at != len(data):
        raise ModelFormatError("not an integer model: bytes follow its end")
    return _build(doc, arrays)


def _collect(node: Any, specs: dict[str, tuple[str, tuple[int, ...]]]) -> None:
    if isinstance(node, dict):
        if "array" in node:
            if node["dtype"] not in _DTYPES:
                raise ModelFormatError(f"not an integer model: dtype {node['dtype']!r}")
            shape = tuple(node["shape"])
            if not all(type(n) is int and n >= 0 for n in shape):
                raise ModelFormatError(f"not an integer model: shape {shape}")
            specs[node["array"]] = (node["dtype"], shape)
            return
        for item in node.values():
            _collect(item, specs)
    elif isinstance(node, list):
        for item in node:
            _collect(item, specs)


def _tuples(node: dict[str, Any]) -> dict[str, Any]:
    """Lists of whole numbers, and lists of such, as tuples."""
    return {key: _tuple(value) if isinstance(value, list) else value for key, value in node.items()}


def _tuple(items: list[Any]) -> tuple[Any, ...]:
    return tuple(tuple(item) if isinstance(item, list) else item for item in items)


def _layer(values: dict[str, Any]) -> TrainableLayer:
    if "conv" in values:
        values["conv"] = ConvShape(**_tuples(values["conv"]))
    return TrainableLayer(**values)


def _build(doc: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> IntModel:
    def fields(node: dict[str, Any]) -> dict[str, Any]:
        out: dict[str, Any] = {}
        for key, value in node.items():
            if isinstance(value, dict) and "array" in value:
                out[key] = arrays[value["array"]]
            elif key == "scale":
                out[key] = Scale(int(value[0]), int(value[1]))
            else:
                out[key] = value
        return out

    top = fields(doc)
    top["arithmetic"] = Arithmetic(**doc["arithmetic"])
    top["input"] = InputStage(**fields(doc["input"]))
    top["frozen"] = tuple(FrozenLayer(**fields(layer)) for layer in doc["frozen"])
    top["layers"] = tuple(_layer(fields(layer)) for layer in doc["layers"])
    if "front" in doc:
        top["front"] = tuple(FrontNode(**_tuples(fields(node))) for node in doc["front"])
    if "signal" in doc:
        kind = Mfcc if doc["signal"].get("kind") == "mfcc" else WindowStats
        top["signal"] = kind(**fields(doc["signal"]))
    if "expansion" in doc:
        top["expansion"] = Expansion(**_tuples(doc["expansion"]))
    top["exemplars"] = tuple(Exemplar(**fields(item)) for item in doc["exemplars"])
    top["class_names"] = tuple(doc["class_names"])
    return IntModel(**top)
