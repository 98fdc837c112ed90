# SPDX-License-Identifier: Apache-2.0
"""An Arduino library (specification 1.5): everything that is compiled lies in src/."""

from codegen.layouts.about import AUTHOR, SUMMARY, About
from codegen.layouts.library import Library, example

SOURCES = "src/"
# The example learns while others wait; loop() has nothing left to do.
TAIL = '    Serial.println(status == HAD_OK ? "learned" : "failed");\n}\n\nvoid loop(void) {\n}'


def files(package: About, parts: Library) -> dict[str, bytes]:
    """library.properties, src/ and examples/Learn/Learn.ino."""
    properties = {
        "name": package.slug,
        "version": package.version,
        "author": AUTHOR,
        "maintainer": AUTHOR,
        "sentence": f"{SUMMARY}.",
        "paragraph": f"{package.title}: learns new classes on the board, without float or malloc.",
        "category": "Data Processing",
        "url": "https://arxiv.org/abs/2310.03675",
        "architectures": "*",
        "includes": "hadapt.h",
    }
    return {
        **parts.placed(SOURCES, SOURCES),
        "library.properties": "".join(f"{k}={v}\n" for k, v in properties.items()).encode(),
        "examples/Learn/Learn.ino": sketch(),
    }


def sketch() -> bytes:
    """The example as a sketch."""
    return example(
        include="#include <Arduino.h>\n",
        say="Serial.println((unsigned long)label);",
        head="void setup(void) {\n    Serial.begin(115200);",
        tail=TAIL,
    )
