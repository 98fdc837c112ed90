# SPDX-License-Identifier: Apache-2.0
"""Largest magnitudes of saturating products, and their shifts (SPEC.md 1.8, 5.2, 18.2)."""

from device.twin.model import Arithmetic


def accumulator_bound(arithmetic: Arithmetic, terms: int, qa: int, qb: int) -> int:
    """D of SPEC.md 1.8: largest magnitude of a saturating product."""
    tiles = -(-terms // arithmetic.tile_k)
    saturated: int = tiles << (arithmetic.acc_bits - 1)
    return min(saturated, terms * qa * qb)


def accumulator_shift(arithmetic: Arithmetic, terms: int, qa: int, qb: int) -> int:
    """Right shift that brings a product below 2**15."""
    return max(0, accumulator_bound(arithmetic, terms, qa, qb).bit_length() - 15)


def fine_shift(arithmetic: Arithmetic, terms: int, qa: int) -> int:
    """Right shift that brings 16 products and those of the rests below 2**15 (SPEC.md 18.2)."""
    bounds = [accumulator_bound(arithmetic, terms, most, 7) for most in (qa, 7)]
    return max(0, (16 * bounds[0] + bounds[1]).bit_length() - 15)
