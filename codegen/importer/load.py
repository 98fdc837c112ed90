# SPDX-License-Identifier: Apache-2.0
"""From bytes to a ModelProto, bounded in time and memory."""

from google.protobuf.message import DecodeError
from onnx import ModelProto

from codegen.errors import MalformedModelError, ModelTooLargeError
from codegen.importer.limits import MAX_FILE_BYTES
from codegen.importer.wire import check_wire

# What people hand in instead, by where its first bytes are: nothing of it is a valid message.
OTHER_FILES = (
    (0, b"PK\x03\x04", "a zip archive, as .hadapt, .pt and .keras files are"),
    (0, b"\x89HDF", "an HDF5 file of Keras"),
    (4, b"TFL3", "a model of TensorFlow Lite"),
    (0, b"\x80\x04\x95", "a pickle of Python"),
)
HOW_TO = "an ONNX file; docs/how-to/bring-your-model.md exports one"


def load_model(data: bytes) -> ModelProto:
    """Parse a file without trusting it.

    Args:
        data: the whole file.
    Returns: the message; its contents are still unchecked.
    Raises: ModelTooLargeError, MalformedModelError.
    """
    if len(data) > MAX_FILE_BYTES:
        raise ModelTooLargeError("file bytes", actual=len(data), limit=MAX_FILE_BYTES, where="file")
    for at, magic, what in OTHER_FILES:
        if data.startswith(magic, at):
            raise MalformedModelError(what, where="file", expected=HOW_TO)
    model = ModelProto()
    check_wire(data, model.DESCRIPTOR)
    try:
        model.ParseFromString(data)
    except DecodeError as error:
        raise MalformedModelError("not protobuf", where="file", expected="an ONNX file") from error
    if not model.HasField("graph") or not model.graph.node:
        raise MalformedModelError(
            "no graph with nodes", where="file", expected="an ONNX file of a trained model"
        )
    return model
