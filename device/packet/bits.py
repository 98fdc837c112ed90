# SPDX-License-Identifier: Apache-2.0
"""Bit streams, least significant bit first, and Rice codes (SPEC.md 11.4)."""

ESCAPE_ONES = 24
ESCAPE_BITS = 32
MAX_K = 24


class BitsEndedError(ValueError):
    """More bits were asked for than there are."""


class BitWriter:
    """Collects bits.

    >>> w = BitWriter()
    >>> w.put(5, 3)
    >>> w.rice(9, 2)
    >>> w.to_bytes().hex()
    '5d'
    """

    def __init__(self) -> None:
        self._value = 0
        self._used = 0
        self._out = bytearray()

    def put(self, value: int, bits: int) -> None:
        """Append the low `bits` bits of a non-negative number."""
        self._value |= (value & ((1 << bits) - 1)) << self._used
        self._used += bits
        while self._used >= 8:
            self._out.append(self._value & 0xFF)
            self._value >>= 8
            self._used -= 8

    def rice(self, value: int, k: int) -> None:
        """Append rice(value, k)."""
        quotient = value >> k
        if quotient >= ESCAPE_ONES:
            self.put((1 << ESCAPE_ONES) - 1, ESCAPE_ONES)
            self.put(value, ESCAPE_BITS)
        else:
            self.put((1 << quotient) - 1, quotient + 1)
            self.put(value, k)

    def to_bytes(self) -> bytes:
        """All bits, the last byte filled with zeros."""
        return bytes(self._out) + (bytes([self._value]) if self._used else b"")


class BitReader:
    """Takes bits from bytes. Raises: BitsEndedError at the end."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, bits: int) -> int:
        """The next `bits` bits as a number."""
        if self._at + bits > 8 * len(self._data):
            raise BitsEndedError("the payload is cut short")
        first, last = self._at // 8, (self._at + bits + 7) // 8
        window = int.from_bytes(self._data[first:last], "little")
        value = (window >> (self._at % 8)) & ((1 << bits) - 1)
        self._at += bits
        return value

    def rice(self, k: int) -> int:
        """The next rice(value, k)."""
        ones = 0
        while ones < ESCAPE_ONES and self.take(1):
            ones += 1
        if ones == ESCAPE_ONES:
            return self.take(ESCAPE_BITS)
        return (ones << k) | self.take(k)

    def is_finished(self) -> bool:
        """Whether nothing but the zeros that fill the last byte is left."""
        left = 8 * len(self._data) - self._at
        return left < 8 and self.take(left) == 0
