# SPDX-License-Identifier: Apache-2.0
"""What an emulated field device keeps in a folder, written whole or not at all."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from server.learning.learner_data import LearnerData


@dataclass(frozen=True)
class Memory:
    """What survives a restart: learner at rest, and the sequence of the last packet taken.

    image: binary of the firmware that was installed last, with its sequence; empty: the one that
    the device was built with.
    """

    learner: LearnerData
    sequence: int = 0
    image: bytes = b""
    image_sequence: int = 0

    def save(self, folder: Path) -> None:
        """Write to a folder; the file with the sequence names the learner's, and comes last."""
        folder.mkdir(parents=True, exist_ok=True)
        learner = _keep(folder, "learner", self.learner.to_bytes())
        image = _keep(folder, "image", self.image) if self.image else ""
        kept = {
            "sequence": self.sequence,
            "learner": learner,
            "image": image,
            "image_sequence": self.image_sequence,
        }
        _write(folder / "memory.json", json.dumps(kept).encode())
        for old in folder.glob("*-*.bin"):
            if old.name not in (learner, image):
                old.unlink()

    @classmethod
    def load(cls, folder: Path) -> "Memory | None":
        """Read from a folder; None if nothing was kept yet."""
        path = folder / "memory.json"
        if not path.exists():
            return None
        kept = json.loads(path.read_bytes())
        image = kept.get("image", "")
        return cls(
            LearnerData.from_bytes((folder / kept["learner"]).read_bytes()),
            kept["sequence"],
            (folder / image).read_bytes() if image else b"",
            kept.get("image_sequence", 0),
        )


def _keep(folder: Path, kind: str, data: bytes) -> str:
    """Write a file that is named by its content. Returns: its name."""
    name = f"{kind}-{hashlib.sha256(data).hexdigest()[:32]}.bin"
    _write(folder / name, data)
    return name


def _write(path: Path, data: bytes) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(data)
    partial.replace(path)
