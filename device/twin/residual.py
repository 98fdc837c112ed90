# SPDX-License-Identifier: Apache-2.0
"""Residual blocks of trainable convolutions (SPEC.md 14.6): who reads what, where errors meet."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from device.twin.kernels import IntArray, round_half_up, saturate
from device.twin.layers import LayerInput
from device.twin.model import TrainableLayer
from device.twin.scale import Scale

Layers = Sequence[TrainableLayer]


def reads(layers: Layers, index: int) -> int:
    """The layer whose input x a layer reads: its own, a side layer that of the one before."""
    return index - 1 if layers[index].side else index


def follows(layers: Layers, index: int) -> int:
    """The layer that reads what a layer below the head makes."""
    return index + 2 if has_side(layers, index) else index + 1


def below(layers: Layers, index: int) -> int:
    """The layer that makes what a layer reads; -1 if that is x0."""
    made = reads(layers, index) - 1
    return made - 1 if made > 0 and layers[made].side else made


def has_side(layers: Layers, index: int) -> bool:
    """Whether a layer is the first of a block with a side layer."""
    return index + 1 < len(layers) and layers[index + 1].side


def identity(layer: TrainableLayer, x: LayerInput) -> IntArray:
    """The shortcut that a block's input is, in the output grid of its last layer, (B, P O)."""
    m, shift = x.scale.pow2(layer.out_frac_bits).multiplier()
    return saturate(round_half_up(x.q * m, shift), 16)


@dataclass(frozen=True)
class Error:
    """Error of a layer's outputs.

    Attributes:
        d: int64 in 16 bits, (B, values); scale: of it.
        largest: magnitude by which it counts as zero or not, and for sums.
    """

    d: IntArray
    scale: Scale
    largest: int

    @classmethod
    def of(cls, d: IntArray, scale: Scale) -> "Error":
        """With the magnitude of its own values."""
        return cls(d, scale, int(np.abs(d).max()))

    def masked(self, mask: IntArray) -> "Error":
        """Zero where the mask is; it counts as before."""
        return Error(self.d * mask, self.scale, self.largest) if self.largest else self


def join(first: Error, second: Error) -> Error:
    """The sum of two errors of one tensor (SPEC.md 14.6)."""
    if second.largest == 0:
        return first
    if first.largest == 0:
        return Error.of(second.d, second.scale)
    both = (first, second)
    ends = [e.scale.pow2(e.largest.bit_length()) for e in both]
    scale = max(ends, key=lambda s: (s.exponent, s.mantissa)).pow2(-14)
    pairs = [e.scale.mul(scale.recip()).multiplier() for e in both]
    parts = [round_half_up(e.d * m, k) for e, (m, k) in zip(both, pairs, strict=True)]
    return Error.of(saturate(parts[0] + parts[1], 16), scale)


def residual_rules(layers: Layers) -> Iterator[tuple[bool, str]]:
    """Rules of SPEC.md 14.6 in order, each with its name; convolutions keep those of 14.1."""
    taken = 0
    for index, layer in enumerate(layers):
        if layer.adds is None:
            continue
        first = layer.adds
        yield type(first) is int and taken <= first <= index, f"adds of trainable layer {index}"
        block = layers[first : index + 1]
        yield all(b.conv is not None for b in block), f"block of trainable layer {index}"
        where = f"shortcut of trainable layer {index}"
        for holds, text in _block_rules(block):
            yield holds, f"{text} of the {where}"
        taken = index + 1
    sides = sum(layer.side for layer in layers)
    used = sum(layer.adds is not None and has_side(layers, layer.adds) for layer in layers)
    yield sides == used, "a side layer without a block"


def _block_rules(block: Layers) -> Iterator[tuple[bool, str]]:
    last, shape = block[-1], block[-1].conv
    assert shape is not None
    sides = [at for at, layer in enumerate(block) if layer.side]
    yield sides in ([], [1]) and not (sides and len(block) < 3), "place"
    if not sides:
        given = block[0].conv
        assert given is not None
        yield given.in_shape == (*shape.out_size, last.outputs), "size"
        return
    side, window = block[1], block[1].conv
    assert window is not None
    yield window.pool == "none" and window.top == 0, "pool or bound"
    yield side.out_frac_bits == last.out_frac_bits, "output grid"
    yield (window.out_size, side.outputs) == (shape.out_size, last.outputs), "size"
