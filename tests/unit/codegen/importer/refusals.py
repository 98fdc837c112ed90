# SPDX-License-Identifier: Apache-2.0
"""What the tests of refusals share."""

import time
from collections.abc import Callable
from typing import Any

import pytest
from onnx import ModelProto
from onnx_files import two_layers

from codegen.errors import ModelImportError
from codegen.importer import import_onnx

MAX_SECONDS = 2.0
"""Of processor time, so that a busy machine does not matter."""


def refusal(data: bytes, kind: type[ModelImportError], message: str) -> ModelImportError:
    """Import must fail within the time limit, with this kind of error and message."""
    begin = time.process_time()
    with pytest.raises(kind, match=message) as caught:
        import_onnx(data)
    assert time.process_time() - begin < MAX_SECONDS
    assert type(caught.value) is kind
    assert all(caught.value.to_dict()[key] for key in ("code", "what", "where", "expected"))
    return caught.value


def changed(change: Callable[[ModelProto], Any]) -> bytes:
    """The bytes of `two_layers` after a change."""
    file = two_layers()
    change(file)
    return file.SerializeToString()
