# SPDX-License-Identifier: Apache-2.0
"""ONNX's own opinion of a model, asked only after ours."""

from onnx import ModelProto, checker, shape_inference

from codegen.errors import MalformedModelError
from codegen.importer.source import shown

_MAX_REASON = 300


def check_with_onnx(model: ModelProto) -> None:
    """Run the checker and strict shape and type inference.

    Args:
        model: embedded weights only, supported operators only, no subgraphs or functions.
    Raises: MalformedModelError with the checker's reason.
    """
    try:
        checker.check_model(model)
        shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    except (checker.ValidationError, shape_inference.InferenceError) as error:
        reason = " ".join(str(error).split())[:_MAX_REASON]
        raise MalformedModelError(
            f"refused by ONNX's checker ({_printable(reason)})",
            where="model",
            expected="a model that passes onnx.checker with strict shape inference",
        ) from error


def _printable(text: str) -> str:
    return " ".join(shown(word) for word in text.split())
