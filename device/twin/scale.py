# SPDX-License-Identifier: Apache-2.0
"""Integer scales and their exact operations (SPEC.md 1.1, 1.4, 1.5)."""

from dataclasses import dataclass


def rhu(value: int, shift: int) -> int:
    """value / 2**shift to the nearest integer, halves up (SPEC.md 1.1).

    >>> rhu(5, 1), rhu(-5, 1), rhu(7, 0)
    (3, -2, 7)
    """
    return (value + (1 << (shift - 1))) >> shift if shift else value


@dataclass(frozen=True)
class Scale:
    """mantissa * 2**exponent, 2**14 <= mantissa < 2**15 (SPEC.md 1.4).

    Stored exponents have 16 bits. Those of intermediate products may need more, so the class takes
    32; whoever stores or sends a scale checks `is_storable`.
    """

    mantissa: int
    exponent: int

    def __post_init__(self) -> None:
        if not 1 << 14 <= self.mantissa < 1 << 15:
            raise ValueError(f"mantissa {self.mantissa} is not in [2**14, 2**15)")
        if not -(1 << 31) <= self.exponent < 1 << 31:
            raise ValueError(f"exponent {self.exponent} does not fit 32 bits")

    @property
    def is_storable(self) -> bool:
        """Whether the exponent fits the 16 bits of models and messages."""
        return -(1 << 15) <= self.exponent < 1 << 15

    @property
    def value(self) -> float:
        """The real number, for reports; no arithmetic of the method uses it."""
        return float(self.mantissa) * 2.0**self.exponent

    @classmethod
    def from_int(cls, value: int) -> "Scale":
        """The scale nearest to an integer of at least 1."""
        if value < 1:
            raise ValueError(f"{value} is not at least 1")
        shift = value.bit_length() - 15
        if shift <= 0:
            return cls(value << -shift, shift)
        return _carry(rhu(value, shift), shift)

    @classmethod
    def from_real(cls, value: float) -> "Scale":
        """The scale nearest to a positive real number; host side only."""
        if not 0.0 < value < float("inf"):
            raise ValueError(f"{value} is not a positive number")
        exponent = 0
        while value * 2.0**-exponent >= 2.0**15:
            exponent += 1
        while value * 2.0**-exponent < 2.0**14:
            exponent -= 1
        return _carry(int(value * 2.0**-exponent + 0.5), exponent)

    def mul(self, other: "Scale") -> "Scale":
        """The product, rounded half up to 15 bits."""
        product = self.mantissa * other.mantissa
        shift = 15 if product >= 1 << 29 else 14
        return _carry(rhu(product, shift), self.exponent + other.exponent + shift)

    def recip(self) -> "Scale":
        """One over the scale, mantissa rounded down."""
        return _carry((1 << 29) // self.mantissa, -29 - self.exponent)

    def pow2(self, shift: int) -> "Scale":
        """The scale times 2**shift."""
        return Scale(self.mantissa, self.exponent + shift)

    def multiplier(self) -> tuple[int, int]:
        """(m, sh): v times the scale is about rhu(v * m, sh), |v| < 2**15 (SPEC.md 1.5)."""
        shift = -self.exponent
        if shift < 0:
            return (1 << 15) - 1, 0
        if shift > 30:
            return self.mantissa >> min(shift - 30, 15), 30
        return self.mantissa, shift

    def multiplier64(self) -> tuple[int, int]:
        """The same for 64-bit products (SPEC.md 6.3 c)."""
        shift = -self.exponent
        if shift < 0:
            return (1 << 15) - 1, 0
        return (0, 0) if shift > 62 else (self.mantissa, shift)


def _carry(mantissa: int, exponent: int) -> Scale:
    """Renormalise a mantissa that rounding took to 2**15."""
    return Scale(1 << 14, exponent + 1) if mantissa == 1 << 15 else Scale(mantissa, exponent)


ONE = Scale(1 << 14, -14)
INVERSE_QMAX = {7: Scale(18725, -17), 15: Scale(17476, -18), 127: Scale(16513, -21)}


def quantized_scale(source: Scale, amax: int, qmax: int) -> Scale:
    """Scale of a tensor quantised with range `amax` to `qmax` steps (SPEC.md 1.6)."""
    return source.mul(Scale.from_int(amax)).mul(INVERSE_QMAX[qmax])
