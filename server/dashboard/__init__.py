# SPDX-License-Identifier: Apache-2.0
"""The dashboard: static pages of our own that read and write the same API as every client."""

from pathlib import Path

FOLDER = Path(__file__).resolve().parent / "pages"
TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
}


def page(name: str) -> tuple[bytes, str] | None:
    """Content and media type of a file of the dashboard; None if there is no such file.

    Only names that stand in the folder are served: a name with a separator or dots leads nowhere.
    """
    known = {path.name: path for path in FOLDER.iterdir() if path.suffix in TYPES}
    path = known.get(name)
    return (path.read_bytes(), TYPES[path.suffix]) if path else None
