# SPDX-License-Identifier: Apache-2.0
"""SPEC.md 3 to 6 in plain Python: input stage, frozen layers, forward, backward, update, counters.

Part of the oracle of `arithmetic.py`: it imports nothing of the project.
"""

from collections import Counter
from dataclasses import dataclass, field

from tests.vectors import arithmetic as ar
from tests.vectors.arithmetic import Matrix, ScalePair, Vector


@dataclass
class Frozen:
    """A frozen layer (4)."""

    weight: Matrix
    bias: Vector
    mult: Vector
    shift: Vector
    relu: bool
    out_amax: int


@dataclass
class Layer:
    """Constants of a trainable layer (5)."""

    row_factor: Vector
    scale: ScalePair
    fy: int
    x_range: int
    w_range: int


@dataclass
class Weights:
    """Masters (O, I) and biases (O,) of a layer."""

    master: Matrix
    bias: Vector

    def copy(self) -> "Weights":
        """A deep copy."""
        return Weights([list(row) for row in self.master], list(self.bias))


@dataclass
class Network:
    """Every constant that forward and backward need (2, 3)."""

    n: int
    tile_k: int
    acc_bits: int
    mode: str
    master_bits: int
    batch: int
    zero: Vector
    mult: Vector
    shift: Vector
    amax: int
    signed: bool
    x0_scale: ScalePair
    x0_signed: bool
    frozen: list[Frozen]
    layers: list[Layer]
    counts: list[Counter[str]] = field(default_factory=list)

    @property
    def log2n(self) -> int:
        """Growth of the transform in bits."""
        return self.n.bit_length() - 1

    def dot(self, a: Vector, b: Vector, layer: int, product: str) -> int:
        """1.8, counted under the product's name if there are counters."""
        value, events, saturated = ar.dot(a, b, self.tile_k, self.acc_bits, self.mode)
        self.count(layer, f"{product} tiles", events)
        self.count(layer, f"{product} saturated", saturated)
        return value

    def shift_of(self, terms: int, qa: int, qb: int) -> int:
        """acc_shift of a product of so many terms."""
        return ar.acc_shift(ar.dot_bound(terms, qa, qb, self.tile_k, self.acc_bits))

    def count(self, layer: int, name: str, n: int = 1) -> None:
        """Add to a counter (6.5)."""
        if self.counts:
            self.counts[layer][name] += n

    def count_tensor(self, layer: int, name: str, q: Vector, v: Vector, amax: int) -> None:
        """Elements, clipped and zeros of a quantised tensor or row."""
        self.count(layer, f"{name} elements", len(q))
        self.count(layer, f"{name} clipped", sum(ar.clips(x, amax) for x in v) if amax else 0)
        self.count(layer, f"{name} zeros", q.count(0))


@dataclass
class Step:
    """What identifies a step's draws, and its learning rate."""

    seed: int
    step: int
    rate: ScalePair


@dataclass
class Activation:
    """4-bit input of a layer, (B, I), with its scale and largest magnitude."""

    q: Matrix
    scale: ScalePair
    qmax: int


def input_stage(net: Network, raw: Vector) -> Vector:
    """x0 of one raw sample, through the frozen layers (3, 4)."""
    qmax = 127 if net.frozen else (7 if net.signed else 15)
    x = []
    for i, value in enumerate(raw):
        v = ar.sat(ar.rhu((value - net.zero[i]) * net.mult[i], net.shift[i]), 16)
        x.append(ar.quant(v, net.amax, qmax, 0 if net.signed else 1))
    for layer in net.frozen:
        x = _frozen(layer, x, last=layer is net.frozen[-1])
    return x


def _frozen(layer: Frozen, x: Vector, last: bool) -> Vector:
    drop = ar.acc_shift(len(x) * 127 * 127)
    qmax = (15 if layer.relu else 7) if last else 127
    out = []
    for o, row in enumerate(layer.weight):
        acc = sum(a * w for a, w in zip(x, row, strict=True))
        y = ar.apply(ar.rhu(acc, drop), (layer.mult[o], layer.shift[o])) + layer.bias[o]
        out.append(ar.quant(ar.sat(y, 16), layer.out_amax, qmax, 1 if layer.relu else 0))
    return out


def weight_row(layer: Layer, o: int, master: Vector) -> tuple[Vector, ScalePair, int]:
    """4-bit view of a row, its scale, and the range used (5.1)."""
    amax = ar.widen(max(abs(w) for w in master), layer.w_range)
    if amax == 0:
        return [0] * len(master), ar.ONE, 0
    s = ar.qscale(ar.mul(layer.scale, ar.from_int(layer.row_factor[o])), amax, 7)
    return [ar.quant(w, amax, 7, 0) for w in master], s, amax


def forward(
    net: Network, index: int, weights: Weights, x: Activation, shortcut: Matrix | None = None
) -> Matrix:
    """y (B, O) of a trainable layer (5.2); the shortcut is added before saturation (14.6)."""
    layer = net.layers[index]
    drop = net.shift_of(len(x.q[0]), x.qmax, 7)
    y: Matrix = [[] for _ in x.q]
    for o, row in enumerate(weights.master):
        wq, sw, amax = weight_row(layer, o, row)
        net.count_tensor(index, "wq", wq, row, amax)
        by = ar.multiplier(ar.pow2(ar.mul(x.scale, sw), layer.fy + drop))
        for b, xb in enumerate(x.q):
            acc = ar.rhu(net.dot(xb, wq, index, "forward"), drop)
            exact = ar.apply(acc, by) + ar.rhu(weights.bias[o], 16)
            exact += shortcut[b][o] if shortcut else 0
            y[b].append(ar.sat(exact, 16))
            net.count(index, "y saturated", y[b][-1] != exact)
    return y


def activate(net: Network, index: int, y: Matrix, top: int) -> Activation:
    """Input of layer `index` from the y of the layer below (5.3)."""
    fy = net.layers[index - 1].fy
    amax = ar.widen(top, net.layers[index].x_range)
    if amax == 0:
        return Activation([[0] * len(row) for row in y], ar.ONE, 15)
    q = [[ar.quant(v, amax, 15, 1) for v in row] for row in y]
    return Activation(q, ar.qscale((2**14, -14 - fy), amax, 15), 15)


def features_and_logits(
    net: Network, weights: list[Weights], frozen_ranges: Vector, x0: Vector
) -> tuple[Vector, Vector]:
    """The head's input and all its outputs for one sample, as in inference."""
    counts, net.counts = net.counts, []
    x = Activation([x0], net.x0_scale, 7 if net.x0_signed else 15)
    y = forward(net, 0, weights[0], x)
    for index in range(1, len(net.layers)):
        x = activate(net, index, y, frozen_ranges[index - 1])
        y = forward(net, index, weights[index], x)
    net.counts = counts
    return x.q[0], y[0]


def _amax(rows: Matrix) -> int:
    return max(abs(v) for row in rows for v in row)


def _quantise_tensor(
    net: Network, rows: Matrix, s: ScalePair, layer: int, name: str, stream: int | None
) -> tuple[Matrix, ScalePair]:
    """Quantise to 7 by the tensor's own maximum; draws indexed row-major if stochastic."""
    amax = _amax(rows)
    width = len(rows[0])
    q = [[0] * width for _ in rows]
    for r, row in enumerate(rows):
        if amax:
            for c, v in enumerate(row):
                u = None if stream is None else ar.draw8(stream, r * width + c)
                q[r][c] = ar.quant(v, amax, 7, 0, u)
        net.count_tensor(layer, name, q[r], row, amax)
    return q, ar.qscale(s, amax, 7) if amax else ar.ONE


def input_gradient(
    net: Network, index: int, weights: Weights, d: Matrix, sd: ScalePair, mask: Matrix, at: Step
) -> tuple[Matrix, ScalePair]:
    """d' (B, I) of the layer below, and its scale (6.3 a)."""
    layer = net.layers[index]
    stream = ar.key(at.seed, at.step, 8 * index)
    transformed = [ar.fwht(row, net.n) for row in d]
    dh, s1 = _quantise_tensor(net, transformed, sd, index, "dh", stream)
    factored = [
        [w * f for w in row] for row, f in zip(weights.master, layer.row_factor, strict=True)
    ]
    columns = [ar.fwht(list(column), net.n) for column in zip(*factored, strict=True)]
    wh, s2 = _quantise_tensor(net, columns, layer.scale, index, "wh", None)
    drop = net.shift_of(len(dh[0]), 7, 7)
    out: Matrix = []
    for b, row in enumerate(dh):
        out.append([])
        for i, column in enumerate(wh):
            exact = ar.rhu(net.dot(row, column, index, "input_gradient"), drop)
            value = ar.sat(exact, 16)
            net.count(index, "d saturated", value != exact)
            out[b].append(value if mask[b][i] else 0)
    return out, ar.pow2(ar.mul(s1, s2), drop - net.log2n)


def update(
    net: Network,
    index: int,
    weights: Weights,
    x: Activation,
    d: Matrix,
    sd: ScalePair,
    rows: int,
    at: Step,
) -> None:
    """Weight gradient, masters and biases of the first `rows` rows (6.3 b, c)."""
    layer = net.layers[index]
    batch_pad = ar.padded(len(d), net.n)
    columns = [ar.fwht(list(column), net.n) for column in zip(*x.q, strict=True)]
    xh, s4 = _quantise_tensor(
        net, columns, x.scale, index, "xh", ar.key(at.seed, at.step, 8 * index + 2)
    )
    dt_stream = ar.key(at.seed, at.step, 8 * index + 1)
    by_batch = ar.recip(ar.from_int(len(d)))
    bias_by = ar.multiplier64(ar.pow2(ar.mul(ar.mul(at.rate, sd), by_batch), layer.fy + 16))
    for o in range(rows):
        column = [row[o] for row in d]
        v = ar.fwht(column, net.n)
        amax = max(abs(t) for t in v)
        dt = [0] * batch_pad
        if amax:
            draws = [ar.draw8(dt_stream, o * batch_pad + b) for b in range(batch_pad)]
            dt = [ar.quant(t, amax, 7, 0, u) for t, u in zip(v, draws, strict=True)]
        net.count_tensor(index, "dt", dt, v, amax)
        if amax and _amax(columns):
            s3 = ar.qscale(sd, amax, 7)
            s_row = ar.mul(layer.scale, ar.from_int(layer.row_factor[o]))
            a = ar.mul(ar.mul(at.rate, ar.mul(s3, s4)), ar.mul(ar.recip(s_row), by_batch))
            by = ar.multiplier(ar.pow2(a, -net.log2n))
            _update_row(net, index, weights.master[o], o, dt, xh, by, at)
        weights.bias[o] = ar.sat(weights.bias[o] - ar.rhu(sum(column) * bias_by[0], bias_by[1]), 32)


def _update_row(
    net: Network,
    index: int,
    master: Vector,
    o: int,
    dt: Vector,
    xh: Matrix,
    by: tuple[int, int],
    at: Step,
) -> None:
    stream = ar.key(at.seed, at.step, 8 * index + 3)
    even = len(master) + len(master) % 2
    m, sh = by
    for i, row in enumerate(xh):
        acc = net.dot(dt, row, index, "weight_gradient")
        u = ar.draw16(stream, o * even + i)
        exact = master[i] - ((acc * m + ((u << 14) >> (30 - sh))) >> sh)
        master[i] = ar.sat_master(exact, net.master_bits)
        net.count(index, "masters saturated", master[i] != exact)
