# SPDX-License-Identifier: Apache-2.0
"""An ESP-IDF component with an example project."""

from codegen.layouts.about import SUMMARY, About
from codegen.layouts.cmake import HEADERS, SOURCES, listing
from codegen.layouts.library import Library, example


def files(package: About, parts: Library) -> dict[str, bytes]:
    """idf_component.yml, CMakeLists.txt, include/, src/ and examples/learn/."""
    manifest = f"""\
version: "{package.version}"
description: "{SUMMARY}: {package.title}"
url: https://arxiv.org/abs/2310.03675
license: Apache-2.0
dependencies:
  idf: ">=5.0"
"""
    lists = f"""\
# SPDX-License-Identifier: Apache-2.0
idf_component_register(
    SRCS
{listing(parts.compiled, SOURCES, " " * 8)}
    INCLUDE_DIRS include
    PRIV_INCLUDE_DIRS src
)
"""
    return {
        **parts.placed(HEADERS, SOURCES),
        "idf_component.yml": manifest.encode(),
        "CMakeLists.txt": lists.encode(),
        **project(package),
    }


def project(package: About) -> dict[str, bytes]:
    """The example project, which finds the component two folders up."""
    top = b"""\
# SPDX-License-Identifier: Apache-2.0
cmake_minimum_required(VERSION 3.16)
include($ENV{IDF_PATH}/tools/cmake/project.cmake)
project(learn)
"""
    component = b'idf_component_register(SRCS "main.c")\n'
    manifest = f"dependencies:\n  {package.slug}:\n    version: '*'\n    override_path: ../../../\n"
    main = example(
        include="#include <stdio.h>\n",
        say='printf("class %u\\n", (unsigned)label);',
        head="void app_main(void) {",
        tail='    printf(status == HAD_OK ? "learned\\n" : "failed\\n");\n}',
    )
    return {
        "examples/learn/CMakeLists.txt": top,
        "examples/learn/main/CMakeLists.txt": component,
        "examples/learn/main/idf_component.yml": manifest.encode(),
        "examples/learn/main/main.c": main,
    }
