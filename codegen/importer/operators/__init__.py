# SPDX-License-Identifier: Apache-2.0
"""The operators of ONNX that the importer understands, one table.

To add one: write a function of its meaning in the fitting module, enter it here, and add its
forms to the tests. Operators on constants only are in codegen.importer.fold.
"""

from collections.abc import Callable, Mapping, Sequence

from codegen.importer.operators import (
    arithmetic,
    dense,
    functions,
    quantized,
    reduce,
    shape,
    tail,
    window,
)
from codegen.importer.operators.arguments import Arguments
from codegen.importer.source import SourceNode
from codegen.importer.values import Value

Plain = Callable[[SourceNode, Arguments], Value | Sequence[Value]]
Shaper = Callable[[SourceNode, Arguments, int | None], Value]

OPERATORS: Mapping[str, Plain] = {
    "Abs": functions.function,
    "Add": arithmetic.add,
    "ArgMax": tail.argmax,
    "AveragePool": window.average_pool,
    "BatchNormalization": arithmetic.batch_normalization,
    "Cast": arithmetic.cast,
    "Celu": functions.celu,
    "Clip": functions.clip,
    "Concat": functions.concat,
    "Conv": window.conv,
    "DequantizeLinear": quantized.dequantize,
    "Div": arithmetic.divide,
    "Dropout": arithmetic.dropout,
    "Elu": functions.function,
    "Erf": functions.function,
    "Exp": functions.function,
    "Gather": tail.gather,
    "Gelu": functions.gelu,
    "Gemm": dense.gemm,
    "GlobalAveragePool": reduce.global_average,
    "GlobalMaxPool": reduce.global_max,
    "HardSigmoid": functions.function,
    "HardSwish": functions.hard_swish,
    "Identity": arithmetic.identity,
    "LeakyRelu": functions.function,
    "LogSoftmax": tail.softmax,
    "MatMul": dense.matmul,
    "MaxPool": window.max_pool,
    "Mish": functions.function,
    "Mul": arithmetic.multiply,
    "Neg": arithmetic.negate,
    "Pad": window.pad,
    "PRelu": functions.prelu,
    "QuantizeLinear": quantized.quantize,
    "ReduceMax": reduce.reduce_max,
    "ReduceMean": reduce.reduce_mean,
    "Relu": arithmetic.relu,
    "Selu": functions.function,
    "Sigmoid": functions.sigmoid,
    "Slice": tail.slice_scores,
    "Softmax": tail.softmax,
    "Softplus": functions.function,
    "Softsign": functions.function,
    "Sub": arithmetic.subtract,
    "Tanh": functions.function,
    "ai.onnx.ml.ArrayFeatureExtractor": tail.array_feature_extractor,
    "ai.onnx.ml.Imputer": tail.imputer,
    "ai.onnx.ml.LabelEncoder": tail.label_encoder,
    "ai.onnx.ml.LinearClassifier": dense.linear_classifier,
    "ai.onnx.ml.LinearRegressor": dense.linear_regressor,
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
