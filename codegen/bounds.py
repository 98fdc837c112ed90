# SPDX-License-Identifier: Apache-2.0
"""Largest magnitudes of a model's products, checked and printed (SPEC.md 1.8)."""

from codegen.accumulators import accumulator_bound
from codegen.errors import GenerateError
from codegen.lower import Plan
from device.twin.model import IntModel

ACC_MAX = 2**31 - 1
GRADIENT_MAX = 2**15 - 1  # of a dense layer: times a multiplier of 15 bits, in 32 bits


def product_bounds(model: IntModel, plan: Plan) -> list[dict[str, int]]:
    """D of each trainable layer's three products.

    Returns: a mapping a layer: forward, input_gradient (0 for layer 0) and weight_gradient.
    Raises: GenerateError if a sum could leave the width that the kernels hold it in.
    """
    a = model.arithmetic
    out = []
    for layer in plan.layers:
        x_max = 7 if layer.reads == 0 and model.x0_signed else 15
        below = accumulator_bound(a, layer.outputs_padded, 7, 7) if layer.below >= 0 else 0
        pixels, positions = 1, 1
        if layer.conv:
            pixels, positions = layer.conv.pixels, layer.conv.kernel[0] * layer.conv.kernel[1]
        bounds = {
            "forward": accumulator_bound(a, layer.inputs, x_max, 7),
            "input_gradient": positions * below,
            "weight_gradient": pixels * accumulator_bound(a, plan.batch_padded, 7, 7),
        }
        _check(bounds, layer.name, ACC_MAX if layer.conv else GRADIENT_MAX)
        out.append(bounds)
    return out


def _check(bounds: dict[str, int], name: str, gradient_max: int) -> None:
    for product, bound in bounds.items():
        limit = gradient_max if product == "weight_gradient" else ACC_MAX
        if bound > limit:
            raise GenerateError(
                f"a sum of the {product.replace('_', ' ')} may reach {bound}",
                where=f"layer {name}",
                expected=f"at most {limit}: fewer inputs, a smaller batch or narrower accumulators",
            )
