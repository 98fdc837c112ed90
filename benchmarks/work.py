# SPDX-License-Identifier: Apache-2.0
"""Useful work of a model: multiply-accumulates and elements, padding not counted.

Useful products are those a float implementation of the same training would do.
"""

from dataclasses import dataclass

from codegen.buffers import Operation
from codegen.generate import plan_of
from codegen.lower import Plan
from device.harness.boards import Board
from device.twin.model import IntModel

Unit = str
PER_MAC, PER_ELEMENT = "insn/MAC", "insn/element"


@dataclass(frozen=True)
class Work:
    """Useful work, and the unit of a cost for it."""

    count: int
    unit: Unit


def inference_macs(model: IntModel) -> int:
    """Products of one inference; only active classes are computed."""
    frozen = sum(layer.weight.size for layer in model.frozen)
    hidden = sum(layer.master.size for layer in model.layers[:-1])
    return int(frozen + hidden + model.n_classes * model.features)


def step_macs(model: IntModel) -> int:
    """Products of a training step: forward, weight gradients, input gradients but the first.

    Example: 64-32-10 with batch 16 has 80,896.
    """
    batch = model.arithmetic.batch
    weights = [layer.master.size for layer in model.layers]
    return int(batch * (2 * sum(weights) + sum(weights[1:])))


def operation_work(model: IntModel, operation: Operation) -> Work:
    """Useful work of an operation of the step."""
    batch = model.arithmetic.batch
    if operation.layer is None:
        return _outer_work(model, operation)
    layer = model.layers[operation.layer]
    name = operation.label.rsplit("_", 1)[0]
    if name in ("FORWARD", "INPUT_GRADIENT", "WEIGHT_GRADIENT"):
        return Work(layer.inputs * layer.outputs * batch, PER_MAC)
    elements = {
        "ACTIVATE": layer.outputs * batch,
        "ERROR_RANGE": layer.outputs * batch,
        "ERROR_QUANTIZE": layer.outputs * batch,
        "WEIGHT_RANGE": layer.outputs * layer.inputs,
        "ACTIVATION_RANGE": layer.inputs * batch,
        "ACTIVATION_QUANTIZE": layer.inputs * batch,
    }
    return Work(elements[name], PER_ELEMENT)


def _outer_work(model: IntModel, operation: Operation) -> Work:
    width = model.x0_size if operation.label == "GATHER" else model.max_classes
    return Work(width * model.arithmetic.batch, PER_ELEMENT)


def kernel_work(model: IntModel, plan: Plan) -> dict[str, Work]:
    """Useful work of a step by kernel function; transforms count the elements they transform.

    Returns: start of the C function's name to work.
    """
    batch, padded = model.arithmetic.batch, plan.batch_padded
    columns = rows = column_macs = row_macs = 0
    for layer in plan.layers:
        updated = model.n_classes if layer.is_head else layer.outputs
        macs = layer.inputs * layer.outputs * batch
        column_macs += macs * (2 if layer.index else 1)
        row_macs += layer.inputs * updated * batch
        rows += (2 * layer.inputs + updated) * padded
        columns += 2 * (layer.inputs + batch) * layer.outputs_padded if layer.index else 0
    return {
        "had_dot_columns": Work(column_macs, PER_MAC),
        "had_dot_row": Work(row_macs, PER_MAC),
        "had_octet_product": Work(column_macs + row_macs, PER_MAC),
        "had_long_product": Work(column_macs + row_macs, PER_MAC),
        "had_fwht_row": Work(rows, PER_ELEMENT),
        "had_fwht_columns": Work(columns, PER_ELEMENT),
    }


def training_ram(model: IntModel, board: Board) -> int:
    """Bytes that training works on: masters, biases, ranges, the step's and inference's arenas."""
    plan = plan_of(model, board)
    weights = plan.master_count * model.arithmetic.master_bits // 8 + 4 * plan.bias_count
    arenas = plan.arena.bytes + plan.panel_bytes + plan.infer_arena.bytes
    return weights + 4 * len(plan.layers) + arenas
