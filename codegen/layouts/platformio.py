# SPDX-License-Identifier: Apache-2.0
"""A PlatformIO library: library.json, include/, src/."""

import json

from codegen.layouts.about import AUTHOR, SUMMARY, About
from codegen.layouts.arduino import sketch
from codegen.layouts.cmake import HEADERS, SOURCES, c_example
from codegen.layouts.library import Library


def files(package: About, parts: Library) -> dict[str, bytes]:
    """library.json, include/, src/ and two examples."""
    document = {
        "$schema": "https://raw.githubusercontent.com/platformio/platformio-core/develop/"
        "platformio/assets/schema/library.json",
        "name": package.slug,
        "version": package.version,
        "description": f"{SUMMARY}: {package.title}",
        "keywords": ["continual learning", "neural network", "integer"],
        "authors": [{"name": AUTHOR}],
        "license": "Apache-2.0",
        "frameworks": "*",
        "platforms": "*",
        "headers": "hadapt.h",
        "build": {"includeDir": "include", "srcDir": "src", "libArchive": True},
        "examples": [
            {"name": "Learn", "base": "examples/Learn", "files": ["Learn.ino"]},
            {"name": "learn in C", "base": "examples/learn_c", "files": ["main.c"]},
        ],
    }
    return {
        **parts.placed(HEADERS, SOURCES),
        "library.json": (json.dumps(document, indent=2) + "\n").encode(),
        "examples/Learn/Learn.ino": sketch(),
        "examples/learn_c/main.c": c_example(),
    }
