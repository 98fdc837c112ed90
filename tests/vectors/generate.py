# SPDX-License-Identifier: Apache-2.0
"""Write kernels.json: inputs and results of every kernel of SPEC.md 1 and 6.2.

    python -m tests.vectors.generate

The results come from `tests.vectors.arithmetic`, the inputs from its own hash, so the file is the
same wherever it is made. A test compares it with the committed one.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.vectors import arithmetic as ar

FILE = Path(__file__).parent / "kernels.json"
Case = dict[str, Any]

EDGES_OF_INT = (1, 2, 3, 16383, 16384, 32767, 32768, 32769, 65535, 65536, 2**31 - 1, 2**31 - 2**15)
EDGES_OF_SCALE = ((2**14, -14), (2**15 - 1, -14), (16385, 0), (32766, 0), (23170, 0), (23171, 0))
EDGES_OF_AMAX = (1, 2, 7, 15, 127, 32767, 32768, 65535, 65536, 522225, 2**24 - 1)


class Numbers:
    """A stream of reproducible integers."""

    def __init__(self, seed: int) -> None:
        self.stream, self.at = ar.key(seed, 0, 0), 0

    def between(self, low: int, high: int) -> int:
        """The next integer in [low, high]."""
        self.at += 1
        wide = ar.word(self.stream, 2 * self.at) << 32 | ar.word(self.stream, 2 * self.at + 1)
        return low + wide % (high - low + 1)

    def vector(self, size: int, low: int, high: int) -> list[int]:
        """The next integers in [low, high]."""
        return [self.between(low, high) for _ in range(size)]

    def scale(self) -> ar.ScalePair:
        """A scale of moderate exponent."""
        return self.between(2**14, 2**15 - 1), self.between(-40, 20)


def _hash(n: Numbers) -> Iterator[Case]:
    for x in (0, 1, 2**31, 2**32 - 1, *n.vector(12, 0, 2**32 - 1)):
        yield {"x": x, "mix": ar.mix(x)}


def _draws(n: Numbers) -> Iterator[Case]:
    for tensor in (0, 1, 2, 3, 8, 17, ar.SAMPLER):
        seed, step = n.between(0, 2**32 - 1), n.between(0, 2**20)
        stream = ar.key(seed, step, tensor)
        for index in (0, 1, 2, 3, 4, n.between(5, 99999)):
            draws = {"u8": ar.draw8(stream, index), "u16": ar.draw16(stream, index)}
            yield {"seed": seed, "step": step, "tensor": tensor, "index": index, **draws}


def _from_int(n: Numbers) -> Iterator[Case]:
    for v in (*EDGES_OF_INT, *n.vector(12, 1, 2**31 - 1)):
        yield {"v": v, "scale": ar.from_int(v)}


def _mul(n: Numbers) -> Iterator[Case]:
    pairs = [(a, b) for a in EDGES_OF_SCALE for b in EDGES_OF_SCALE]
    for a, b in (*pairs, *[(n.scale(), n.scale()) for _ in range(12)]):
        yield {"a": a, "b": b, "product": ar.mul(a, b)}


def _recip(n: Numbers) -> Iterator[Case]:
    for a in (*EDGES_OF_SCALE, *[n.scale() for _ in range(12)]):
        yield {"a": a, "reciprocal": ar.recip(a)}


def _multiplier(n: Numbers) -> Iterator[Case]:
    for e in (1, 0, -1, -14, -29, -30, -31, -32, -44, -45, -46, -61, -62, -63, -100):
        a = (n.between(2**14, 2**15 - 1), e)
        v = n.between(-(2**15) + 1, 2**15 - 1)
        m = ar.multiplier(a)
        applied = {"v": v, "applied": ar.apply(v, m)}
        yield {"a": a, "multiplier": m, "multiplier64": ar.multiplier64(a), **applied}


def _quant(n: Numbers) -> Iterator[Case]:
    for amax in (*EDGES_OF_AMAX, *n.vector(4, 1, 2**29)):
        for qmax in (7, 15, 127):
            values = (0, 1, -1, amax, -amax, -amax - 1, amax + 1, n.between(-2 * amax, 2 * amax))
            for v in values:
                for lo in (0, 1) if qmax != 7 else (0,):
                    u = n.between(0, 255)
                    results = {"nearest": ar.quant(v, amax, qmax, lo)}
                    results["stochastic"] = ar.quant(v, amax, qmax, lo, u)
                    yield {"v": v, "amax": amax, "qmax": qmax, "lo": lo, "u": u, **results}


def _fwht(n: Numbers) -> Iterator[Case]:
    for order in (1, 4, 8, 16, 32, 64):
        for size in (order, order + 1, 2 * order - 1):
            v = n.vector(size, -32767, 32767)
            yield {"order": order, "input": v, "output": ar.fwht(v, order)}


def _dot(n: Numbers) -> Iterator[Case]:
    for sign in (1, -1):
        for size in (2, 3, 19, 40):
            yield _dot_case([7] * size, [7 * sign] * size, 16, 8)
    for size in (1, 5, 32, 33, 70):
        for high in (7, 15):
            low = -7 if high == 7 else 0
            a, b = n.vector(size, low, high), n.vector(size, 0 if high == 15 else -7, 7)
            for tile_k, acc_bits in ((1, 8), (16, 8), (32, 8), (32, 12), (1024, 16), (32, 32)):
                yield _dot_case(a, b, tile_k, acc_bits)


def _dot_case(a: list[int], b: list[int], tile_k: int, acc_bits: int) -> Case:
    case: Case = {"a": a, "b": b, "tile_k": tile_k, "acc_bits": acc_bits}
    for mode in ("tile", "every_add"):
        value, events, saturated = ar.dot(a, b, tile_k, acc_bits, mode)
        case[mode] = {"value": value, "events": events, "saturated": saturated}
    return case


def _loss(n: Numbers) -> Iterator[Case]:
    for fy in (0, 3, 8, 11, 15):
        for classes in (1, 2, 5, 19):
            span = n.between(1, 15)
            y = n.vector(classes, -(2**span), 2**span - 1)
            label = n.between(0, classes - 1)
            yield _loss_case(y, fy, label)
    yield _loss_case([32767, -32768, 32767], 0, 1)
    for entry in range(1, 64):
        for error in (-1, 1):
            yield _loss_case(_row_that_shows(entry, error), 10, 1)


def _loss_case(y: list[int], fy: int, label: int) -> Case:
    p = ar.softmax(y, fy)
    return {"y": y, "fy": fy, "label": label, "p": p, "d": ar.loss_error(p, label)}


def _row_that_shows(entry: int, error: int) -> list[int]:
    """Logits in 2**-10 whose probabilities change if an entry of the table of powers is wrong."""
    table = list(ar.EXP2)
    table[entry] += error
    z = -(entry * 2**18 // 23637)
    rows = ([0] * zeros + [z] * count for count in range(1, 9) for zeros in range(1, 9))
    return next(y for y in rows if ar.softmax(y, 10) != ar.softmax(y, 10, table))


KERNELS = {
    "mix": _hash,
    "draws": _draws,
    "from_int": _from_int,
    "mul": _mul,
    "recip": _recip,
    "multiplier": _multiplier,
    "quant": _quant,
    "fwht": _fwht,
    "dot": _dot,
    "loss": _loss,
}


def render() -> str:
    """The file's text: one case a line."""
    groups = []
    for number, (name, cases) in enumerate(KERNELS.items()):
        lines = [json.dumps(case) for case in cases(Numbers(number))]
        groups.append(f"{json.dumps(name)}: [\n" + ",\n".join(lines) + "\n]")
    return "{\n" + ",\n".join(groups) + "\n}\n"


if __name__ == "__main__":
    FILE.write_text(render(), encoding="ascii")
