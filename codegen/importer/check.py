# SPDX-License-Identifier: Apache-2.0
"""ONNX's own opinion of a model, asked only after ours."""

from onnx import ModelProto, checker, shape_inference

from codegen.errors import MalformedModelError
from codegen.importer.source import shown

_MAX_REASON = 300


def check_schemas(model: ModelProto) -> None:
    """Hold each node against its operator's schema: inputs, outputs, attributes.

    Args:
        model: embedded weights only, supported operators only, no subgraphs or functions.
    Raises: MalformedModelError with the checker's reason.
    """
    try:
        checker.check_model(model)
    except checker.ValidationError as error:
        raise _refusal(error, "onnx.checker") from error


def check_shapes(model: ModelProto) -> None:
    """Strict shape and type inference, a second opinion on what was understood.

    Args:
        model: as for check_schemas.
    Raises: MalformedModelError with the reason.
    """
    try:
        shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    except shape_inference.InferenceError as error:
        raise _refusal(error, "strict onnx.shape_inference") from error


def _refusal(error: Exception, tool: str) -> MalformedModelError:
    reason = " ".join(shown(word) for word in str(error).split())[:_MAX_REASON]
    return MalformedModelError(
        f"refused by ONNX ({reason})", where="model", expected=f"a model that passes {tool}"
    )
