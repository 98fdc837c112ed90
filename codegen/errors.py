# SPDX-License-Identifier: Apache-2.0
"""Errors of code generation.

    CodegenError
    ├── ModelImportError            the file cannot become a FloatGraph
    │   ├── MalformedModelError     not ONNX, corrupt, or contradicting itself
    │   ├── ModelTooLargeError      beyond a limit of the importer
    │   ├── ExternalDataError       weights are kept outside the file
    │   ├── BadWeightError          NaN, infinite or absurdly large weight
    │   └── UnsupportedModelError   valid ONNX of a form we do not take
    │       ├── UnsupportedOperatorError
    │       ├── UnsupportedOpsetError
    │       └── UnsupportedShapeError
    ├── GraphError                  a graph breaks its own invariants
    ├── ShapeError                  an array argument has the wrong shape or dtype
    ├── QuantizeError               no integer model can be made
    │   └── CalibrationError        the calibration samples are unusable
    ├── GenerateError               no sources can be generated
    └── ExportError                 the integer model cannot be written as ONNX

Every error says what is wrong, where, and what would be right, both in its message and as fields,
so that a service can pass it on without parsing text.
"""

from collections.abc import Mapping, Sequence

Detail = int | float | str | None | list[int] | list[str]


INFERENCE_ONLY = (
    "for an autoencoder, a regressor or an embedding, which has no classes to learn, "
    "pass inference_only (hadapt quantize --inference-only)"
)
"""What refusals of networks without classes say."""


class CodegenError(Exception):
    """Root of the tree.

    Args:
        what: what is wrong, a clause without full stop.
        where: the node, tensor, layer or file part concerned.
        expected: what would be right.
        details: further machine-readable fields, JSON types only.
    """

    code = "codegen_error"

    def __init__(
        self, what: str, *, where: str, expected: str, details: Mapping[str, Detail] | None = None
    ) -> None:
        super().__init__(f"{where}: {what}; expected {expected}")
        self.what = what
        self.where = where
        self.expected = expected
        self.details: dict[str, Detail] = dict(details or {})

    def to_dict(self) -> dict[str, Detail | dict[str, Detail]]:
        """The error as JSON-ready fields: code, what, where, expected, details."""
        return {
            "code": self.code,
            "what": self.what,
            "where": self.where,
            "expected": self.expected,
            "details": self.details,
        }


class ModelImportError(CodegenError):
    """The file cannot become a FloatGraph."""

    code = "model_import"


class MalformedModelError(ModelImportError):
    """The file is not ONNX, is corrupt, or contradicts itself."""

    code = "malformed_model"


class ModelTooLargeError(ModelImportError):
    """The file exceeds a limit of the importer.

    Args:
        quantity: what was counted, such as "file bytes".
        actual: the count, or a lower bound of it.
        limit: the largest count accepted.
        where: the tensor, node or file part counted.
    """

    code = "model_too_large"

    def __init__(self, quantity: str, *, actual: int, limit: int, where: str) -> None:
        super().__init__(
            f"{actual} {quantity}",
            where=where,
            expected=f"at most {limit}",
            details={"quantity": quantity, "actual": actual, "limit": limit},
        )


class ExternalDataError(ModelImportError):
    """A tensor keeps its data in another file, which an upload cannot bring along."""

    code = "external_data"

    def __init__(self, tensor: str) -> None:
        super().__init__(
            "tensor data lies outside the file",
            where=f"tensor {tensor}",
            expected="all weights embedded (torch.onnx.export with external_data=False; "
            "onnx.save with save_as_external_data=False)",
            details={"tensor": tensor},
        )


class BadWeightError(ModelImportError):
    """A weight is NaN, infinite, or beyond any useful magnitude.

    Args:
        tensor: name of the tensor or layer.
        index: position of the first bad element.
        value: that element.
        limit: largest magnitude accepted.
    """

    code = "bad_weight"

    def __init__(self, tensor: str, index: Sequence[int], value: float, limit: float) -> None:
        super().__init__(
            f"element {list(index)} is {value}",
            where=f"tensor {tensor}",
            expected=f"finite weights of magnitude at most {limit:g}",
            details={"tensor": tensor, "index": list(index), "value": str(value)},
        )


class UnsupportedModelError(ModelImportError):
    """The file is valid ONNX of a form the importer does not take."""

    code = "unsupported_model"


_QDQ = "the float model, or quantize_static with QuantFormat.QDQ; "
_INSTEAD = {
    "DynamicQuantizeLinear": _QDQ,
    "MatMulInteger": _QDQ,
    "ConvInteger": _QDQ,
    "QLinear": _QDQ,
    "com.microsoft.Q": _QDQ,
    "com.microsoft.": "the file as it was before onnxruntime optimised it; ",
}
"""What to bring in place of operators that tools put into a file, by the start of their name."""


class UnsupportedOperatorError(UnsupportedModelError):
    """An operator the importer does not know.

    Args:
        node: name of the node.
        operator: its operator, with the domain where that is not ONNX's own.
        supported: the operators that are known.
    """

    code = "unsupported_operator"

    def __init__(self, node: str, operator: str, supported: Sequence[str]) -> None:
        self.node = node
        self.operator = operator
        self.supported = tuple(supported)
        hint = next((text for start, text in _INSTEAD.items() if operator.startswith(start)), "")
        super().__init__(
            f"operator {operator} is not supported",
            where=f"node {node}",
            expected=hint + "one of " + ", ".join(supported),
            details={"node": node, "operator": operator, "supported": list(supported)},
        )


class UnsupportedOpsetError(UnsupportedModelError):
    """The file was written for an operator set outside the accepted range."""

    code = "unsupported_opset"

    def __init__(self, domain: str, version: int, lowest: int, highest: int) -> None:
        super().__init__(
            f"opset {version} of domain {domain}",
            where="opset_import",
            expected=f"opset {lowest} to {highest} (onnx.version_converter changes it)",
            details={"domain": domain, "version": version, "lowest": lowest, "highest": highest},
        )


class UnsupportedShapeError(UnsupportedModelError):
    """A tensor has a shape that a network of this form cannot carry."""

    code = "unsupported_shape"


class GraphError(CodegenError):
    """A graph breaks its own invariants."""

    code = "graph"


class ShapeError(CodegenError):
    """An array argument has the wrong shape or dtype."""

    code = "shape"


class QuantizeError(CodegenError):
    """No integer model can be made from the graph."""

    code = "quantize"


class CalibrationError(QuantizeError):
    """The calibration samples are unusable."""

    code = "calibration"


class GenerateError(CodegenError):
    """No sources can be generated from the integer model."""

    code = "generate"


class ExportError(CodegenError):
    """The integer model cannot be written as ONNX."""

    code = "export"
