# SPDX-License-Identifier: Apache-2.0
"""The integer model as ONNX (IR 10, opset 21), in two forms.

`exact` spells the device's arithmetic in integer operators and equals the device bit for bit; `qdq`
is the ordinary quantize/dequantize form for other tools, close but without saturating tiles.
"""

from codegen.export.exact import export_exact, export_network_exact
from codegen.export.qdq import export_qdq

__all__ = ["export_exact", "export_network_exact", "export_qdq"]
