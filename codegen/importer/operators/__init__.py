# SPDX-License-Identifier: Apache-2.0
"""The operators of ONNX that the importer understands, one table.

To add one: write a function of its meaning in the fitting module, enter it here, and add its
forms to the tests. Operators on constants only are in codegen.importer.fold.
"""

from collections.abc import Callable, Mapping, Sequence

from codegen.importer.operators import arithmetic, dense, shape, tail
from codegen.importer.operators.arguments import Arguments
from codegen.importer.source import SourceNode
from codegen.importer.values import Value

Plain = Callable[[SourceNode, Arguments], Value | Sequence[Value]]
Shaper = Callable[[SourceNode, Arguments, int | None], Value]

OPERATORS: Mapping[str, Plain] = {
    "Add": arithmetic.add,
    "ArgMax": tail.argmax,
    "BatchNormalization": arithmetic.batch_normalization,
    "Cast": arithmetic.cast,
    "Concat": tail.concat_scores,
    "Div": arithmetic.divide,
    "Dropout": arithmetic.dropout,
    "Gemm": dense.gemm,
    "Identity": arithmetic.identity,
    "LogSoftmax": tail.softmax,
    "MatMul": dense.matmul,
    "Mul": arithmetic.multiply,
    "Neg": arithmetic.negate,
    "Relu": arithmetic.relu,
    "Sigmoid": tail.sigmoid,
    "Slice": tail.slice_scores,
    "Softmax": tail.softmax,
    "Sub": arithmetic.subtract,
    "ai.onnx.ml.ArrayFeatureExtractor": tail.array_feature_extractor,
    "ai.onnx.ml.LabelEncoder": tail.label_encoder,
    "ai.onnx.ml.LinearClassifier": dense.linear_classifier,
    "ai.onnx.ml.Normalizer": tail.normalizer,
    "ai.onnx.ml.Scaler": arithmetic.scaler,
    "ai.onnx.ml.ZipMap": tail.zip_map,
}
"""Operators on computed tensors."""

SHAPERS: Mapping[str, Shaper] = {
    "Flatten": shape.flatten,
    "Reshape": shape.reshape,
    "Shape": shape.shape,
    "Squeeze": shape.squeeze,
    "Transpose": shape.transpose,
    "Unsqueeze": shape.unsqueeze,
}
"""Operators that must know whether the file fixes the batch size."""
