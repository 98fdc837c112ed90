# SPDX-License-Identifier: Apache-2.0
"""Float graph to integer model (SPEC.md 2 to 5 and 14), by calibration on real samples."""

from codegen.quantize.options import QuantizeOptions
from codegen.quantize.quantizer import quantize
from codegen.quantize.tail import trained_counts

__all__ = ["QuantizeOptions", "quantize", "trained_counts"]
