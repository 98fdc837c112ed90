# SPDX-License-Identifier: Apache-2.0
"""SPEC.md 14.6 in plain Python integers: a training step of convolutions with residual blocks."""

from dataclasses import dataclass

from tests.vectors import arithmetic as ar
from tests.vectors import convolution as page
from tests.vectors import network as ref
from tests.vectors.arithmetic import Matrix, ScalePair, Vector


@dataclass(frozen=True)
class Place:
    """A layer: geometry (None: dense), whether a side layer, first of the block that it ends."""

    geometry: page.Geometry | None
    side: bool = False
    adds: int | None = None


@dataclass(frozen=True)
class Error:
    """Errors (B, values), their scale, and the magnitude that stands for them."""

    d: Matrix
    s: ScalePair
    t: int


def _error(d: Matrix, s: ScalePair) -> Error:
    return Error(d, s, max(abs(v) for row in d for v in row))


def identity(x: ref.Activation, fy: int) -> Matrix:
    """The shortcut that an input is, (B, P O)."""
    by = ar.multiplier(ar.pow2(x.scale, fy))
    return [[ar.sat(ar.apply(v, by), 16) for v in row] for row in x.q]


def join(one: Error, two: Error) -> Error:
    """The sum of two errors."""
    if two.t == 0:
        return one
    if one.t == 0:
        return _error(two.d, two.s)
    ends = [ar.pow2(e.s, e.t.bit_length()) for e in (one, two)]
    larger = ends[0] if (ends[0][1], ends[0][0]) >= (ends[1][1], ends[1][0]) else ends[1]
    s = ar.pow2(larger, -14)
    m1, m2 = (ar.multiplier(ar.mul(e.s, ar.recip(s))) for e in (one, two))
    rows = zip(one.d, two.d, strict=True)
    d = [
        [ar.sat(ar.apply(v, m1) + ar.apply(w, m2), 16) for v, w in zip(a, b, strict=True)]
        for a, b in rows
    ]
    return _error(d, s)


def _flat(cube: page.Cube) -> Matrix:
    return [[v for row in one for v in row] for one in cube]


def _cube(d: Matrix, outputs: int) -> page.Cube:
    return [[row[i : i + outputs] for i in range(0, len(row), outputs)] for row in d]


def _masked(d: Matrix, mask: Matrix) -> Matrix:
    return [
        [v if m else 0 for v, m in zip(a, b, strict=True)] for a, b in zip(d, mask, strict=True)
    ]


class Walk:
    """One step: layers forward, then backward; weights change in place."""

    def __init__(self, net: ref.Network, places: list[Place], weights: list[ref.Weights]) -> None:
        self.net, self.places, self.weights = net, places, weights
        self.x: dict[int, ref.Activation] = {}
        self.mask: dict[int, Matrix] = {}
        self.passes: dict[int, page.Cube] = {}
        self.side: Matrix = []

    def reads(self, index: int) -> int:
        """Number of the input that a layer reads."""
        return index - 1 if self.places[index].side else index

    def forward(self, x0: ref.Activation) -> Matrix:
        """Logits."""
        self.x[0] = x0
        y: Matrix = []
        for index, place in enumerate(self.places):
            x, w = self.x[self.reads(index)], self.weights[index]
            if place.geometry is None:
                y = ref.forward(self.net, index, w, x)
                values, top = y, lambda v: int(v > 0)
            else:
                g = place.geometry
                outputs = len(w.master)
                added = None
                if place.adds is not None:
                    two = self.places[place.adds + 1].side
                    fy = self.net.layers[index].fy
                    source = self.side if two else identity(self.x[place.adds], fy)
                    added = [row for one in _cube(source, outputs) for row in one]
                cube = page.conv_forward(self.net, index, g, w, x, added)
                if place.side:
                    self.side = _flat(cube)
                    self.passes[index] = cube
                    continue
                z, self.passes[index] = page.pool(g, cube)
                values, top = _flat(z), lambda v, g=g: page.passes_bound(g, v)
            above = index + 1
            if above == len(self.places):
                break
            above += self.places[above].side
            largest = max(0, max(v for row in values for v in row))
            self.mask[above] = [[top(v) for v in row] for row in values]
            fy = self.net.layers[index].fy
            self.x[above] = _activate(values, fy, self.net.layers[above].x_range, largest)
        return y

    def backward(self, d: Matrix, classes: int, at: ref.Step) -> None:
        """From the error of the logits on."""
        errors = {len(self.places) - 1: _error(d, (2**14, -29))}
        met: dict[int, Error] = {}
        for index in reversed(range(len(self.places))):
            place, error = self.places[index], errors.pop(index)
            own = self.reads(index)
            made, inner = self._layer(index, error, classes, at)
            if place.adds is not None:
                first = place.adds
                if self.places[first + 1].side:
                    errors[first + 1] = inner
                elif first:
                    met[first] = Error(_masked(inner.d, self.mask[first]), inner.s, inner.t)
            if own == 0:
                continue
            if place.side:
                met[own] = made
                continue
            under = index - 1
            while self.places[under].side:
                under -= 1
            errors[under] = join(made, met[index]) if index in met else made

    def _layer(self, index: int, error: Error, classes: int, at: ref.Step) -> tuple[Error, Error]:
        net, w, g = self.net, self.weights[index], self.places[index].geometry
        own = self.reads(index)
        x, mask = self.x[own], self.mask.get(own)
        nothing = Error([[0] * len(row) for row in x.q], error.s, 0)
        if error.t == 0:
            return nothing, Error(self._zeros(index), error.s, 0)
        made = nothing
        if g is None:
            if mask is not None:
                made = _error(*ref.input_gradient(net, index, w, error.d, error.s, mask, at))
            rows = classes if index + 1 == len(self.places) else len(w.master)
            ref.update(net, index, w, x, error.d, error.s, rows, at)
            return made, error
        cube = _cube(error.d, len(w.master))
        d, s = (
            (cube, error.s)
            if self.places[index].side
            else page.spread(g, cube, error.s, self.passes[index])
        )
        if mask is not None:
            gradient = page.conv_input_gradient if g["groups"] == 1 else page.groups_input_gradient
            below, s_below = gradient(net, index, g, w, d, s, at)
            made = _error(_masked(below, mask), s_below)
        two = index + 1 < len(self.places) and self.places[index + 1].side
        page.conv_update(net, index, g, w, x, d, s, at, 8 * (index + two) + 2)
        return made, Error(_flat(d), s, error.t)

    def _zeros(self, index: int) -> Matrix:
        return [[0 for row in one for _ in row] for one in self.passes.get(index, [])]


def _activate(values: Matrix, fy: int, x_range: int, top: int) -> ref.Activation:
    amax = ar.widen(top, x_range)
    if amax == 0:
        return ref.Activation([[0] * len(row) for row in values], ar.ONE, 15)
    q = [[ar.quant(v, amax, 15, 1) for v in row] for row in values]
    return ref.Activation(q, ar.qscale((2**14, -14 - fy), amax, 15), 15)


def softmax_errors(y: Matrix, labels: Vector, classes: int, fy: int) -> Matrix:
    """Error of the logits; inactive ones have none."""
    out = []
    for row, label in zip(y, labels, strict=True):
        d = ar.loss_error(ar.softmax(row[:classes], fy), label)
        out.append([*d, *(0 for _ in row[classes:])])
    return out
