# SPDX-License-Identifier: Apache-2.0
"""SPEC.md 14 in plain Python integers, one value at a time; geometry as a dict of its numbers."""

from tests.vectors import arithmetic as ar
from tests.vectors.network import (
    Activation,
    Matrix,
    Network,
    ScalePair,
    Step,
    Vector,
    Weights,
    _quantise_tensor,
    forward,
)

Geometry = dict[str, tuple[int, ...] | str | int]
Cube = list[Matrix]


def _sizes(g: Geometry, name: str) -> tuple[int, ...]:
    value = g[name]
    assert isinstance(value, tuple)
    return value


def pixel_under(g: Geometry, p: int, i: int, j: int) -> int | None:
    """Input pixel under kernel position (i, j) at output pixel p; None outside."""
    (height, width, _), (_, wide) = _sizes(g, "in_shape"), _sizes(g, "out_size")
    r, s = divmod(p, wide)
    y = r * _sizes(g, "stride")[0] + i * _sizes(g, "dilation")[0] - _sizes(g, "pad")[0]
    x = s * _sizes(g, "stride")[1] + j * _sizes(g, "dilation")[1] - _sizes(g, "pad")[1]
    return y * width + x if 0 <= y < height and 0 <= x < width else None


def _number(g: Geometry, name: str) -> int:
    value = g[name]
    assert isinstance(value, int)
    return value


def terms(g: Geometry) -> list[tuple[int, int, int]]:
    """(i, j, c) of every term of an unrolled row."""
    high, wide = _sizes(g, "kernel")
    channels = _sizes(g, "in_shape")[2] // _number(g, "groups")
    return [(i, j, c) for i in range(high) for j in range(wide) for c in range(channels)]


def channel_of(g: Geometry, outputs: int, o: int, c: int) -> int:
    """Input channel that output o reads at place c of its group."""
    groups, channels = _number(g, "groups"), _sizes(g, "in_shape")[2]
    return o * groups // outputs * (channels // groups) + c


def pixels(g: Geometry) -> int:
    """P."""
    return _sizes(g, "out_size")[0] * _sizes(g, "out_size")[1]


def conv_forward(
    net: Network,
    index: int,
    g: Geometry,
    w: Weights,
    x: Activation,
    shortcut: Matrix | None = None,
) -> Cube:
    """y (B, P, O) (14.2); a product for every group, of which the group's own rows are kept.

    Args:
        shortcut: (B P, O) (14.6).
    """
    channels, outputs = _sizes(g, "in_shape")[2], len(w.master)
    share, top = outputs // _number(g, "groups"), _number(g, "top")
    y: Matrix = [[0] * outputs for _ in range(len(x.q) * pixels(g))]
    for first in range(0, outputs, share):
        rows = []
        for one in x.q:
            for p in range(pixels(g)):
                row = []
                for i, j, c in terms(g):
                    at = pixel_under(g, p, i, j)
                    place = channel_of(g, outputs, first, c)
                    row.append(0 if at is None else one[at * channels + place])
                rows.append(row)
        made = forward(net, index, w, Activation(rows, x.scale, x.qmax), shortcut)
        for to, row in zip(y, made, strict=True):
            to[first : first + share] = [min(v, top or v) for v in row[first : first + share]]
    return [y[b * pixels(g) : (b + 1) * pixels(g)] for b in range(len(x.q))]


def window(g: Geometry, q: int) -> Vector:
    """Output pixels of window q of the pool, in row order."""
    (high, wide), width = _sizes(g, "pool_size"), _sizes(g, "out_size")[1]
    row, column = divmod(q, width // wide)
    return [(row * high + i) * width + column * wide + j for i in range(high) for j in range(wide)]


def windows(g: Geometry) -> int:
    """Qn."""
    (height, width), (high, wide) = _sizes(g, "out_size"), _sizes(g, "pool_size")
    return (height // high) * (width // wide)


def passes_bound(g: Geometry, v: int) -> int:
    """1 if the error of an output passes ReLU and bound."""
    return int(v > 0 and (_number(g, "top") == 0 or v < _number(g, "top")))


def pool(g: Geometry, y: Cube) -> tuple[Cube, Cube]:
    """z (B, Qn, O) and pass (B, P, O) (14.2)."""
    z, passes = [], []
    for one in y:
        outputs = len(one[0])
        bits = [[passes_bound(g, v) for v in row] for row in one]
        if g["pool"] == "max":
            bits = [[0] * outputs for _ in one]
        z.append([[_pooled(g, one, bits, q, o) for o in range(outputs)] for q in range(windows(g))])
        passes.append(bits)
    return z, passes


def _pooled(g: Geometry, y: Matrix, bits: Matrix, q: int, o: int) -> int:
    places = window(g, q)
    if g["pool"] == "none":
        return y[places[0]][o]
    r = [max(y[p][o], 0) for p in places]
    if g["pool"] == "max":
        if max(r) > 0:
            bits[places[r.index(max(r))]][o] = 1
        return max(r)
    k = max(0, (32767 * len(r)).bit_length() - 15)
    by = ar.multiplier(ar.pow2(ar.recip(ar.from_int(len(r))), k))
    return ar.sat(ar.apply(ar.rhu(sum(r), k), by), 16)


def spread(g: Geometry, d: Cube, s: ScalePair, passes: Cube) -> tuple[Cube, ScalePair]:
    """Error of y (B, P, O) from that of z, and its scale (14.3)."""
    if g["pool"] == "none":
        return d, s
    out = [[[0] * len(row) for row in one] for one in passes]
    for b, one in enumerate(d):
        for q, row in enumerate(one):
            for p in window(g, q):
                out[b][p] = [v * bit for v, bit in zip(row, passes[b][p], strict=True)]
    n = len(window(g, 0))
    return out, ar.mul(s, ar.recip(ar.from_int(n))) if g["pool"] == "average" else s


def conv_input_gradient(
    net: Network, index: int, g: Geometry, w: Weights, d: Cube, sd: ScalePair, at: Step
) -> tuple[Matrix, ScalePair]:
    """Error below before its mask, (B, H W C), and its scale (14.3 a)."""
    layer, batch, (height, width, channels) = net.layers[index], len(d), _sizes(g, "in_shape")
    rows = [ar.fwht(d[b][p], net.n) for p in range(pixels(g)) for b in range(batch)]
    stream = ar.key(at.seed, at.step, 8 * index)
    dh, s1 = _quantise_tensor(net, rows, sd, index, "dh", stream)
    factored = [[v * f for v in row] for row, f in zip(w.master, layer.row_factor, strict=True)]
    columns = [ar.fwht(list(column), net.n) for column in zip(*factored, strict=True)]
    wh, s2 = _quantise_tensor(net, columns, layer.scale, index, "wh", None)
    acc = [[0] * (height * width * channels) for _ in range(batch)]
    for p in range(pixels(g)):
        for k, (i, j, c) in enumerate(terms(g)):
            pixel = pixel_under(g, p, i, j)
            for b in range(batch) if pixel is not None else ():
                assert pixel is not None
                part = net.dot(dh[p * batch + b], wh[k], index, "input_gradient")
                acc[b][pixel * channels + c] += part
    high, wide = _sizes(g, "kernel")
    bound = high * wide * ar.dot_bound(len(dh[0]), 7, 7, net.tile_k, net.acc_bits)
    drop = ar.acc_shift(bound)
    below = [[ar.sat(ar.rhu(v, drop), 16) for v in row] for row in acc]
    return below, ar.pow2(ar.mul(s1, s2), drop - net.log2n)


def groups_input_gradient(
    net: Network, index: int, g: Geometry, w: Weights, d: Cube, sd: ScalePair, at: Step
) -> tuple[Matrix, ScalePair]:
    """Error below before its mask, (B, H W C), and its scale (14.3 d)."""
    layer, batch, groups = net.layers[index], len(d), _number(g, "groups")
    (height, width, channels), (high, wide) = _sizes(g, "in_shape"), _sizes(g, "kernel")
    outputs = len(w.master)
    share = outputs // groups
    rows = []
    for q in range(height * width):
        for group in range(groups):
            for b in range(batch):
                row = []
                for i in range(high):
                    for j in range(wide):
                        over = [p for p in range(pixels(g)) if pixel_under(g, p, i, j) == q]
                        for o in range(group * share, (group + 1) * share):
                            row.append(sum(d[b][p][o] for p in over))
                rows.append(ar.fwht(row, net.n))
    dh, s1 = _quantise_tensor(net, rows, sd, index, "dh", ar.key(at.seed, at.step, 8 * index))
    columns = []
    for channel in range(channels):
        group, c = divmod(channel, channels // groups)
        row = []
        for i in range(high):
            for j in range(wide):
                k = terms(g).index((i, j, c))
                for o in range(group * share, (group + 1) * share):
                    row.append(w.master[o][k] * layer.row_factor[o])
        columns.append(ar.fwht(row, net.n))
    wh, s2 = _quantise_tensor(net, columns, layer.scale, index, "wh", None)
    drop = net.shift_of(len(dh[0]), 7, 7)
    below: Matrix = [[] for _ in range(batch)]
    for b in range(batch):
        for q in range(height * width):
            for channel in range(channels):
                group = channel // (channels // groups)
                row = dh[(q * groups + group) * batch + b]
                acc = net.dot(row, wh[channel], index, "input_gradient")
                below[b].append(ar.sat(ar.rhu(acc, drop), 16))
    return below, ar.pow2(ar.mul(s1, s2), drop - net.log2n)


def conv_update(
    net: Network,
    index: int,
    g: Geometry,
    w: Weights,
    x: Activation,
    d: Cube,
    sd: ScalePair,
    at: Step,
    tensor: int | None = None,
) -> None:
    """Masters and biases in place (14.3 b and c); tensor: of the draws of xh, if another's."""
    layer, batch = net.layers[index], len(d)
    wide, outputs = ar.padded(batch, net.n), len(w.master)
    columns = [ar.fwht(list(column), net.n) for column in zip(*x.q, strict=True)]
    stream = ar.key(at.seed, at.step, 8 * index + 2 if tensor is None else tensor)
    xh, s4 = _quantise_tensor(net, columns, x.scale, index, "xh", stream)
    live = any(v for row in columns for v in row)
    share = ar.recip(ar.from_int(batch))
    bias = ar.multiplier64(ar.pow2(ar.mul(ar.mul(at.rate, sd), share), layer.fy + 16))
    draws = ar.key(at.seed, at.step, 8 * index + 1)
    for o in range(outputs):
        v = [ar.fwht([d[b][p][o] for b in range(batch)], net.n) for p in range(pixels(g))]
        amax = max(abs(t) for row in v for t in row)
        if amax and live:
            dt = [
                [
                    ar.quant(t, amax, 7, 0, ar.draw8(draws, (p * outputs + o) * wide + b))
                    for b, t in enumerate(row)
                ]
                for p, row in enumerate(v)
            ]
            s_row = ar.mul(layer.scale, ar.from_int(layer.row_factor[o]))
            s = ar.mul(ar.qscale(sd, amax, 7), s4)
            a = ar.mul(ar.mul(at.rate, s), ar.mul(ar.recip(s_row), share))
            by = ar.multiplier(ar.pow2(a, -net.log2n))
            _move(net, index, g, w.master[o], o, dt, xh, outputs, by, at)
        total = sum(d[b][p][o] for b in range(batch) for p in range(pixels(g)))
        w.bias[o] = ar.sat(w.bias[o] - ar.rhu(total * bias[0], bias[1]), 32)


def _move(
    net: Network,
    index: int,
    g: Geometry,
    master: Vector,
    o: int,
    dt: Matrix,
    xh: Matrix,
    outputs: int,
    by: tuple[int, int],
    at: Step,
) -> None:
    """Masters of channel o."""
    stream, even, (m, sh) = (
        ar.key(at.seed, at.step, 8 * index + 3),
        len(master) + len(master) % 2,
        by,
    )
    channels = _sizes(g, "in_shape")[2]
    for k, (i, j, c) in enumerate(terms(g)):
        acc = 0
        for p in range(pixels(g)):
            pixel = pixel_under(g, p, i, j)
            if pixel is not None:
                place = pixel * channels + channel_of(g, outputs, o, c)
                acc += net.dot(dt[p], xh[place], index, "weight_gradient")
        u = ar.draw16(stream, o * even + k)
        delta = (acc * m + ((u << 14) >> (30 - sh))) >> sh
        master[k] = ar.sat_master(master[k] - delta, net.master_bits)
