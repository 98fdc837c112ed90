# SPDX-License-Identifier: Apache-2.0
"""SPEC.md 1 and 6.2 in plain Python integers, one element at a time.

This is an oracle: written from the specification alone, it shares no line with `device.twin` or the
C, and imports nothing of the project. A scale is a pair (m, e) of value m * 2**e.
"""

from collections.abc import Sequence

ScalePair = tuple[int, int]
Vector = list[int]
Matrix = list[list[int]]

ONE: ScalePair = (2**14, -14)
INVERSE = {7: (18725, -17), 15: (17476, -18), 127: (16513, -21)}
WORD = 0xFFFFFFFF
SAMPLER = 0xFFFF0000


# 1.1, 1.2


def rhu(v: int, s: int) -> int:
    """Nearest, half up."""
    return v if s == 0 else (v + (1 << s - 1)) >> s


def sat(v: int, bits: int) -> int:
    """Clamp to the two's complement range."""
    return max(-(1 << bits - 1), min((1 << bits - 1) - 1, v))


def sat_master(v: int, bits: int) -> int:
    """Clamp to the symmetric range of masters."""
    limit = (1 << bits - 1) - 1
    return max(-limit, min(limit, v))


# 1.3


def mix(x: int) -> int:
    """The 32-bit hash."""
    x ^= x >> 16
    x = x * 0x7FEB352D & WORD
    x ^= x >> 15
    x = x * 0x846CA68B & WORD
    return x ^ x >> 16


def key(seed: int, step: int, tensor: int) -> int:
    """Key of a tensor's words."""
    return mix((mix((mix(seed) + step) & WORD) + tensor) & WORD)


def word(stream: int, w: int) -> int:
    """Word w of a tensor."""
    return mix((stream + w) & WORD)


def draw8(stream: int, index: int) -> int:
    """8-bit draw of an element."""
    return word(stream, index >> 2) >> 8 * (index & 3) & 0xFF


def draw16(stream: int, index: int) -> int:
    """16-bit draw of an element."""
    return word(stream, index >> 1) >> 16 * (index & 1) & 0xFFFF


# 1.4, 1.5


def _scale(m: int, e: int) -> ScalePair:
    return (2**14, e + 1) if m == 2**15 else (m, e)


def from_int(v: int) -> ScalePair:
    """Nearest scale of an integer of at least 1."""
    length = v.bit_length()
    if length <= 15:
        return v << 15 - length, length - 15
    return _scale(rhu(v, length - 15), length - 15)


def mul(a: ScalePair, b: ScalePair) -> ScalePair:
    """Rounded product."""
    p = a[0] * b[0]
    s = 15 if p >= 2**29 else 14
    return _scale(rhu(p, s), a[1] + b[1] + s)


def recip(a: ScalePair) -> ScalePair:
    """One over a scale."""
    return _scale(2**29 // a[0], -29 - a[1])


def pow2(a: ScalePair, s: int) -> ScalePair:
    """A scale times 2**s."""
    return a[0], a[1] + s


def multiplier(a: ScalePair) -> tuple[int, int]:
    """Scale to (m, sh) for 32-bit products."""
    sh = -a[1]
    if sh < 0:
        return 2**15 - 1, 0
    if sh > 30:
        return a[0] >> min(sh - 30, 15), 30
    return a[0], sh


def multiplier64(a: ScalePair) -> tuple[int, int]:
    """Scale to (m, sh) for 64-bit products (6.3 c)."""
    sh = -a[1]
    if sh < 0:
        return 2**15 - 1, 0
    return (0, 0) if sh > 62 else (a[0], sh)


def apply(v: int, by: tuple[int, int]) -> int:
    """A value times a multiplier."""
    return rhu(v * by[0], by[1])


# 1.6


def quant(v: int, amax: int, qmax: int, lo: int, u: int | None = None) -> int:
    """Quantise one value; u is its 8-bit draw, None rounds to nearest."""
    s = 23 if qmax == 127 else 26
    k = max(0, amax.bit_length() - 15)
    a = amax >> k
    r = (qmax << s) // a
    v = max(0 if lo else -a, min(a, v >> k))
    product = v * r + (2 ** (s - 1) if u is None else u << s - 8)
    if not -(2**31) <= product < 2**31:
        raise OverflowError(f"{product} leaves 32 bits")
    return product >> s


def clips(v: int, amax: int) -> bool:
    """Whether a value of a signed tensor is outside the clamp (6.5)."""
    k = max(0, amax.bit_length() - 15)
    return not -(amax >> k) <= v >> k <= amax >> k


def qscale(s: ScalePair, amax: int, qmax: int) -> ScalePair:
    """Scale of a quantised tensor."""
    return mul(mul(s, from_int(amax)), INVERSE[qmax])


def widen(amax: int, factor: int) -> int:
    """A range times a factor in sixteenths (5)."""
    return amax * factor >> 4


# 1.7


def padded(size: int, n: int) -> int:
    """Size rounded up to a multiple of n."""
    return (size + n - 1) // n * n


def fwht(values: Sequence[int], n: int) -> Vector:
    """Block Hadamard transform of a vector, padded with zeros.

    Element (i, j) of the Sylvester matrix is -1 to the number of ones in i & j.
    """
    v = list(values) + [0] * (padded(len(values), n) - len(values))
    out = []
    for block in range(0, len(v), n):
        for i in range(n):
            signs = [-1 if (i & j).bit_count() & 1 else 1 for j in range(n)]
            out.append(sum(sign * v[block + j] for j, sign in enumerate(signs)))
    return out


# 1.8


def dot(
    a: Sequence[int], b: Sequence[int], tile_k: int, acc_bits: int, mode: str
) -> tuple[int, int, int]:
    """Saturating product: value, tiles (or additions), saturated ones."""
    total = events = saturated = 0
    for start in range(0, len(a), tile_k):
        stop = start + tile_k
        terms = [x * y for x, y in zip(a[start:stop], b[start:stop], strict=True)]
        steps = terms if mode == "every_add" else [sum(terms)]
        acc = 0
        for term in steps:
            exact = acc + term
            acc = sat(exact, acc_bits)
            events += 1
            saturated += acc != exact
        total += acc
    return total, events, saturated


def dot_bound(terms: int, qa: int, qb: int, tile_k: int, acc_bits: int) -> int:
    """D of 1.8."""
    tiles = (terms + tile_k - 1) // tile_k
    return min(tiles << acc_bits - 1, terms * qa * qb)


def acc_shift(bound: int) -> int:
    """Bits an accumulator of this bound loses to fit 16."""
    return max(0, bound.bit_length() - 15)


# 6.2


def exp2_entry(f: int) -> int:
    """floor(2**15 * 2**(-f/64) + 1/2): the largest t with (2 t - 1)**64 <= 2**(64 * 16 - f)."""
    low, high = 2**14, 2**15 + 1
    while high - low > 1:
        t = (low + high) // 2
        low, high = (t, high) if (2 * t - 1) ** 64 <= 2 ** (64 * 16 - f) else (low, t)
    return low


EXP2 = [exp2_entry(f) for f in range(64)]


def softmax(y: Sequence[int], fy: int, exp2: Sequence[int] = EXP2) -> Vector:
    """Probabilities of one row of active logits, in 2**-15."""
    top = max(y)
    e = []
    for value in y:
        t = ((top - value) * 23637 + 2 ** (fy + 7)) >> (fy + 8)
        e.append(rhu(exp2[t & 63], t >> 6) if t >> 6 <= 15 else 0)
    total = sum(e)
    sb = total.bit_length() - 16
    r = 2**31 // (total >> sb)
    return [(x * r + 2 ** (15 + sb)) >> (16 + sb) for x in e]


def loss_error(p: Sequence[int], label: int) -> Vector:
    """Error of the cross-entropy of one row, in 2**-15."""
    return [max(-32767, min(32767, q - (32768 if c == label else 0))) for c, q in enumerate(p)]
