# SPDX-License-Identifier: Apache-2.0
"""Useful work, against sums made by hand."""

from benchmarks.models import SMALL_INT8, subject
from benchmarks.work import (
    PER_MAC,
    inference_macs,
    kernel_work,
    operation_work,
    step_macs,
    training_ram,
)
from codegen.lower import lower
from device.harness.boards import BOARDS


def test_step_macs_of_64_32_10_batch_16() -> None:
    forward = 16 * (64 * 32 + 32 * 10)
    assert step_macs(subject(SMALL_INT8).model) == 2 * forward + 16 * 32 * 10 == 80_896


def test_inference_macs_count_active_classes_only() -> None:
    assert inference_macs(subject(SMALL_INT8).model) == 64 * 32 + 32 * 6


def test_operation_work_in_macs_adds_up_to_the_step() -> None:
    model = subject(SMALL_INT8).model
    works = [operation_work(model, operation) for operation in lower(model).operations]
    assert all(work.count > 0 for work in works)
    assert sum(w.count for w in works if w.unit == PER_MAC) == step_macs(model)


def test_kernel_work_counts_updated_rows_of_the_head_only() -> None:
    model = subject(SMALL_INT8).model
    work = kernel_work(model, lower(model))
    assert work["had_dot_columns"].count == 16 * (64 * 32 + 2 * 32 * 10)
    assert work["had_dot_row"].count == 16 * (64 * 32 + 32 * 6)
    # Rows of 16: the inputs twice (range, quantise), an error row an updated output.
    assert work["had_fwht_row"].count == 16 * (2 * 64 + 32 + 2 * 32 + 6)
    # Columns of 16 (10 padded): errors and weights of layer 1, each twice.
    assert work["had_fwht_columns"].count == 2 * (32 + 16) * 16


def test_training_ram_is_at_least_weights_and_activations() -> None:
    model = subject(SMALL_INT8).model
    weights = 64 * 32 + 32 * 10 + 4 * (32 + 10)
    assert training_ram(model, BOARDS["mps2-an386"]) >= weights + 16 * (64 + 32)
