# SPDX-License-Identifier: Apache-2.0
"""Where a tensor meets functions of itself: x sigmoid(x), x / (1 + |x|), GELU written out.

What both sides compute, number by number, from one tensor is one function of it, hence one table.
"""

from dataclasses import replace

import numpy as np

from codegen.importer.source import SourceNode
from codegen.importer.values import (
    AffineStep,
    ClampStep,
    FunctionStep,
    ReluStep,
    Signal,
    Step,
)

MAX_STEPS = 16  # between the common tensor and where its functions meet
MAX_TOKENS = 64
Tokens = tuple[float | str, ...]


def composed(node: SourceNode, x: Signal, y: Signal, operator: str) -> Signal | None:
    """The function that x `operator` y is of a tensor before both, None if there is none.

    Args:
        operator: add, sub, mul or div. Sums of plain scales, shifts and clips stay sums.
    """
    alike = x.shape == y.shape and np.array_equal(x.places, y.places)
    chains = _chain(x.step), _chain(y.step)
    base = next((a for a in chains[0] if any(a is b for b in chains[1])), None)
    if not alike or base is None or x.margin or y.margin:
        return None
    steps = [step for chain in chains for step in _until(chain, base)]
    if operator in ("add", "sub") and not any(isinstance(s, FunctionStep) for s in steps):
        return None
    tokens = (*_tokens(chains[0], base), *_tokens(chains[1], base), operator)
    if len(tokens) > MAX_TOKENS:
        return None
    return replace(x, step=FunctionStep(base, "composed", tokens, x.size, node.name))


def _chain(step: Step) -> list[Step]:
    """A step and those before it that it is a function of, number by number."""
    found = [step]
    while len(found) <= MAX_STEPS:
        last = found[-1]
        uniform = isinstance(last, AffineStep) and last.is_uniform
        if not (uniform or isinstance(last, FunctionStep | ReluStep | ClampStep)):
            break
        assert isinstance(last, AffineStep | FunctionStep | ReluStep | ClampStep)
        found.append(last.source)
    return found


def _until(chain: list[Step], base: Step) -> list[Step]:
    return chain[: next(i for i, step in enumerate(chain) if step is base)]


def _tokens(chain: list[Step], base: Step) -> Tokens:
    """The chain's first step as a function of `base`, in the notation of `compose`."""
    tokens: Tokens = ("x",)
    for step in reversed(_until(chain, base)):
        if isinstance(step, AffineStep):
            tokens = (*tokens, float(step.scale[0]), "mul", float(step.shift[0]), "add")
        elif isinstance(step, ReluStep):
            tokens = (*tokens, 0.0, 3e38, "clip")
        elif isinstance(step, ClampStep):
            tokens = (*tokens, step.low, min(step.high, 3e38), "clip")
        elif isinstance(step, FunctionStep) and step.function == "composed":
            tokens = _inserted(step.parameters, tokens)
        elif isinstance(step, FunctionStep):
            tokens = (*tokens, *step.parameters, step.function)
        if len(tokens) > MAX_TOKENS:
            break
    return tokens


def _inserted(outer: Tokens, inner: Tokens) -> Tokens:
    """outer(inner(x)); no longer than the limit needs."""
    found: Tokens = ()
    for token in outer:
        found = (*found, *inner) if token == "x" else (*found, token)
        if len(found) > MAX_TOKENS:
            break
    return found
