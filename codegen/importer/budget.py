# SPDX-License-Identifier: Apache-2.0
"""What reading one file may cost, however its nodes share and repeat tensors."""

from codegen.errors import ModelTooLargeError
from codegen.importer.limits import (
    MAX_ELEMENTS,
    MAX_FOLDED_ELEMENTS,
    MAX_FOLDED_PRODUCTS,
    MAX_STEP_ELEMENTS,
)
from codegen.importer.source import SourceNode


def check_size(count: int, node: SourceNode) -> None:
    """Refuse a constant that is too big to compute. Raises: ModelTooLargeError."""
    _check("elements computed from constants", count, MAX_ELEMENTS, node)


class Budget:
    """Sums over the nodes of one file; each method raises ModelTooLargeError at its limit."""

    def __init__(self) -> None:
        self._folded = 0
        self._products = 0
        self._steps = 0

    def take_folded(self, count: int, node: SourceNode) -> None:
        """Account for the elements of a computed constant."""
        self._folded += count
        _check("elements computed from constants", self._folded, MAX_FOLDED_ELEMENTS, node)

    def take_products(self, count: int, node: SourceNode) -> None:
        """Account for multiplications among constants."""
        self._products += count
        _check("products of constants", self._products, MAX_FOLDED_PRODUCTS, node)

    def take_step(self, count: int, node: SourceNode) -> None:
        """Account for the weights, or else the output, of a node on computed tensors."""
        self._steps += count
        _check("weights and outputs of nodes", self._steps, MAX_STEP_ELEMENTS, node)


def _check(quantity: str, actual: int, limit: int, node: SourceNode) -> None:
    if actual > limit:
        raise ModelTooLargeError(quantity, actual=actual, limit=limit, where=node.label)
