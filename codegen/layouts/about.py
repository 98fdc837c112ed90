# SPDX-License-Identifier: Apache-2.0
"""What every layout says of a package: its name, version, licence and bill of materials."""

import json
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import device
from device.twin.inference import AnyModel

LICENSE_FILE = Path(device.__file__).resolve().parent / "runtime" / "LICENSE"
AUTHOR = "Hadapt"
SUMMARY = "A network that runs and learns with integers only"
_SLUG_MAX = 40


@dataclass(frozen=True)
class About:
    """Names of a package, fit for every ecosystem.

    `slug` has lower-case letters, digits and underscores and starts with "hadapt"; `title` is for
    people; `version` is that of Hadapt (SemVer); `model_id` the model's 32 hex digits.
    """

    slug: str
    title: str
    version: str
    model_id: str
    board: str


def about(model: AnyModel, board: str) -> About:
    """Names of the package of a model for a board."""
    cleaned = re.sub(r"[^a-z0-9]+", "_", model.name.lower()).strip("_")[:_SLUG_MAX].rstrip("_")
    slug = f"hadapt_{cleaned or 'model'}"
    words = " ".join(model.name.split()).encode("ascii", "replace").decode()
    title = re.sub(r"[^ -~]|[\"<>&\\]", "?", words)[:80] or "model"
    return About(slug, title, version("hadapt"), model.model_id.hex(), board)


def license_text() -> bytes:
    """The licence of everything in a package."""
    return LICENSE_FILE.read_bytes()


def bill_of_materials(package: About, third: Mapping[str, str] | None = None) -> bytes:
    """A CycloneDX 1.6 document: the runtime and the model; same package, same bytes.

    Args:
        third: name, version, licence (SPDX) and purl of a third component, of field devices;
            without, the sources need a freestanding C11 compiler and nothing else.
    """
    licences = [{"license": {"id": "Apache-2.0"}}]
    serial = uuid.uuid5(uuid.NAMESPACE_OID, f"{package.model_id} {package.board} {package.version}")
    document = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{serial}",
        "version": 1,
        "metadata": {
            "component": {
                "type": "firmware",
                "bom-ref": package.slug,
                "name": package.slug,
                "version": package.version,
                "description": f"{SUMMARY}: {package.title}, for {package.board}",
                "licenses": licences,
            }
        },
        "components": [
            {
                "type": "library",
                "bom-ref": "hadapt-runtime",
                "name": "hadapt-runtime",
                "version": package.version,
                "licenses": licences,
            },
            {
                "type": "machine-learning-model",
                "bom-ref": "model",
                "name": package.title,
                "version": package.model_id,
            },
            *((_library(third),) if third else ()),
        ],
        "dependencies": [
            {
                "ref": package.slug,
                "dependsOn": ["hadapt-runtime", "model", *((third["name"],) if third else ())],
            }
        ],
    }
    return (json.dumps(document, indent=2) + "\n").encode()


def _library(third: Mapping[str, str]) -> dict[str, object]:
    return {
        "type": "library",
        "bom-ref": third["name"],
        "name": third["name"],
        "version": third["version"],
        "licenses": [{"license": {"id": third["licence"]}}],
        "purl": third["purl"],
    }
