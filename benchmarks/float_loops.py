# SPDX-License-Identifier: Apache-2.0
"""PyTorch loops that the host build is timed against: plain float32, and the method simulated.

PyTorch is no dependency: `load_torch()` says None where it is missing.
"""

import importlib
from collections.abc import Callable
from itertools import pairwise
from typing import Any

ORDER = 16
TILE_K = 32
ACC_MIN, ACC_MAX = -128, 127
LEARNING_RATE = 0.02


def load_torch() -> Any:
    """The module, set to one thread; None if it is not installed."""
    try:
        torch = importlib.import_module("torch")
    except ImportError:
        return None
    torch.set_num_threads(1)
    torch.manual_seed(7)
    return torch


def float_step(torch: Any, widths: tuple[int, ...], batch: int, samples: int) -> Callable[[], None]:
    """A float32 training step: draw a batch, forward, cross-entropy, backward, plain SGD.

    Args:
        widths: features, hidden widths, classes.
        samples: how many there are to draw from.
    """
    layers: list[Any] = []
    for inputs, outputs in pairwise(widths):
        layers += [torch.nn.Linear(inputs, outputs), torch.nn.ReLU()]
    return _step(torch, torch.nn.Sequential(*layers[:-1]), (widths[0], widths[-1]), batch, samples)


def simulated_step(
    torch: Any, widths: tuple[int, ...], batch: int, samples: int
) -> Callable[[], None]:
    """The same step with the method's arithmetic simulated in float32.

    4-bit operands, 8-bit accumulators that saturate after each tile of 32 terms, Hadamard
    transforms of order 16 before both backward products, stochastic rounding of their operands
    (SPEC.md 5, 6).
    Masters stay float32: their quantisation would only cost it more.
    """
    simulation = _Simulation(torch)
    linear = simulation.linear()
    weights = [
        torch.nn.Parameter(torch.randn(outputs, inputs) * (2 / inputs) ** 0.5)
        for inputs, outputs in pairwise(widths)
    ]

    class Network(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.weights = torch.nn.ParameterList(weights)
            self.biases = torch.nn.ParameterList(
                [torch.nn.Parameter(torch.zeros(w.shape[0])) for w in weights]
            )

        def forward(self, x: Any) -> Any:
            last = len(weights) - 1
            for at, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
                x = linear.apply(x, weight) + bias
                x = x if at == last else x.relu()
            return x

    return _step(torch, Network(), (widths[0], widths[-1]), batch, samples)


def _step(
    torch: Any, network: Any, ends: tuple[int, int], batch: int, samples: int
) -> Callable[[], None]:
    features, classes = ends
    x = torch.randn(samples, features)
    y = torch.randint(0, classes, (samples,))
    optimizer = torch.optim.SGD(network.parameters(), lr=LEARNING_RATE)

    def step() -> None:
        rows = torch.randint(0, samples, (batch,))
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(network(x[rows]), y[rows])
        loss.backward()
        optimizer.step()

    return step


class _Simulation:
    """Quantisers, transform and saturating product on float tensors."""

    def __init__(self, torch: Any) -> None:
        self.torch = torch
        hadamard = torch.ones(1, 1)
        while len(hadamard) < ORDER:
            top = torch.cat((hadamard, hadamard), 1)
            hadamard = torch.cat((top, torch.cat((hadamard, -hadamard), 1)), 0)
        self.hadamard = hadamard

    def quantize(self, v: Any, steps: int, dim: int | None, stochastic: bool) -> tuple[Any, Any]:
        """Integers of at most `steps`, and their scale, per tensor or per row of `dim`."""
        torch = self.torch
        amax = v.abs().max() if dim is None else v.abs().amax(dim, keepdim=True)
        scale = amax.clamp(min=1e-30) / steps
        u = torch.rand_like(v) if stochastic else 0.5
        return torch.floor(v / scale + u).clamp(-steps, steps), scale

    def transform(self, v: Any) -> Any:
        """Hadamard transform along the last axis, padded to a multiple of the order."""
        v = self.torch.nn.functional.pad(v, (0, -v.shape[-1] % ORDER))
        return (v.unflatten(-1, (-1, ORDER)) @ self.hadamard).flatten(-2)

    def product(self, a: Any, b: Any) -> Any:
        """a b^T with every tile's sum saturated; a (M, K), b (N, K)."""
        pad = self.torch.nn.functional.pad
        a, b = (pad(v, (0, -v.shape[-1] % TILE_K)).unflatten(-1, (-1, TILE_K)) for v in (a, b))
        tiles = self.torch.bmm(a.transpose(0, 1), b.permute(1, 2, 0))
        return tiles.clamp_(ACC_MIN, ACC_MAX).sum(0)

    def linear(self) -> Any:
        """The layer's product as an autograd function of (x, weight)."""
        simulation = self

        class Linear(self.torch.autograd.Function):  # type: ignore[misc, name-defined]
            @staticmethod
            def forward(context: Any, x: Any, weight: Any) -> Any:
                xq, sx = simulation.quantize(x, 7, None, False)
                wq, sw = simulation.quantize(weight, 7, 1, False)
                context.save_for_backward(xq, sx, weight)
                return simulation.product(xq, wq) * (sx * sw.T)

            @staticmethod
            def backward(context: Any, d: Any) -> tuple[Any, Any]:
                xq, sx, weight = context.saved_tensors
                below = None
                if context.needs_input_grad[0]:
                    dh, s1 = simulation.quantize(simulation.transform(d), 7, None, True)
                    wh, s2 = simulation.quantize(simulation.transform(weight.T), 7, None, False)
                    below = simulation.product(dh, wh) * (s1 * s2 / ORDER)
                dt, s3 = simulation.quantize(simulation.transform(d.T), 7, 1, True)
                xh, s4 = simulation.quantize(simulation.transform(xq.T), 7, None, True)
                return below, simulation.product(dt, xh) * (s3 * s4 * sx / ORDER)

        return Linear
