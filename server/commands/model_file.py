# SPDX-License-Identifier: Apache-2.0
"""The .hadapt file: an integer model and what its learner knows, in one file.

A zip without compression, same content, same bytes:

    hadapt.json   format, version, name, class_names, feature_count, max_classes, feature_min,
                  feature_max, state_hash, history (every session: data, seed, steps, method)
    model.bin     integer model, the engine's form
    learner.bin   learner, the engine's form
    state.bin     what is delivered to a device
    float.onnx    the float model it was made from; missing in files of older versions
    samples.npy   some of the calibration samples, float32 (N, feature_count); likewise
"""

import io
import json
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from server.commands.console import read_input, write_output, wrong
from server.errors import Issue, ModelRejectedError
from server.learning.datasets import UNREADABLE
from server.learning.ports import Learner

FORMAT, VERSION = "hadapt", 1
MAX_BYTES = 256 * 1024 * 1024
_PARTS = {"int_model": "model.bin", "learner": "learner.bin", "state": "state.bin"}
_LATER = {"float_model": "float.onnx", "samples": "samples.npy"}
_TYPES: dict[str, type | tuple[type, ...]] = {
    "name": str,
    "feature_count": int,
    "max_classes": int,
    "feature_min": (int, float),
    "feature_max": (int, float),
    "state_hash": str,
}
_ZIP_DATE = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class ModelFile:
    """What a .hadapt file holds; see the module for the fields."""

    name: str
    class_names: tuple[str, ...]
    feature_count: int
    max_classes: int
    feature_min: float
    feature_max: float
    state_hash: str
    int_model: bytes
    learner: bytes
    state: bytes
    history: tuple[dict[str, Any], ...] = ()
    float_model: bytes = b""
    samples: bytes = b""

    def with_learner(
        self, learner: Learner, class_names: tuple[str, ...], session: dict[str, Any]
    ) -> "ModelFile":
        """The file after a session."""
        return replace(
            self,
            class_names=class_names,
            state_hash=learner.state_hash,
            learner=learner.data,
            state=learner.state,
            history=(*self.history, session),
        )

    def to_bytes(self) -> bytes:
        """Serialise."""
        parts = _PARTS | _LATER
        head = {k: v for k, v in vars(self).items() if k not in parts}
        head = {"format": FORMAT, "version": VERSION, **head}
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
            text = json.dumps(head, indent=1, ensure_ascii=False).encode()
            archive.writestr(zipfile.ZipInfo("hadapt.json", _ZIP_DATE), text)
            for field, name in parts.items():
                archive.writestr(zipfile.ZipInfo(name, _ZIP_DATE), getattr(self, field))
        return buffer.getvalue()

    def save(self, path: Path) -> None:
        """Write the file."""
        write_output(path, self.to_bytes())


def load_model_file(path: Path) -> ModelFile:
    """Read a .hadapt file.

    Raises: UsageError if it cannot be read, ModelRejectedError if it is anything else.
    """
    data = read_input(path, "a model made by `hadapt quantize`")
    try:
        return _parse(data)
    except (*UNREADABLE, KeyError, TypeError, AttributeError) as error:
        what = "not a model made by `hadapt quantize`"
        hint = "ONNX files go through `hadapt quantize` first"
        raise ModelRejectedError(f"{path}: {what}.", [Issue(what, str(path), hint)]) from error


def _parse(data: bytes) -> ModelFile:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        if sum(info.file_size for info in archive.infolist()) > MAX_BYTES:
            raise ValueError("too large")
        head = json.loads(archive.read("hadapt.json"))
        if (head.pop("format"), head.pop("version")) != (FORMAT, VERSION):
            raise ValueError("another format")
        names = set(archive.namelist())
        kept = _PARTS | {field: name for field, name in _LATER.items() if name in names}
        parts = {field: archive.read(name) for field, name in kept.items()}
    tuples = {name: tuple(head.pop(name)) for name in ("class_names", "history")}
    wrong_type = [name for name, kind in _TYPES.items() if not isinstance(head[name], kind)]
    if wrong_type or not all(isinstance(name, str) for name in tuples["class_names"]):
        raise ValueError(f"wrong type of {', '.join(wrong_type) or 'class_names'}")
    fields: dict[str, Any] = {**head, **tuples, **parts}
    return ModelFile(**fields)


def check_output(path: Path, suffix: str) -> None:
    """Refuse a folder where a file is to be written, before any work is done.

    Raises: UsageError.
    """
    if path.is_dir():
        raise wrong("a folder is there", str(path), f"a file name such as model{suffix}")
