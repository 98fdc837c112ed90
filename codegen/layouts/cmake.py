# SPDX-License-Identifier: Apache-2.0
"""Plain CMake: a static library `hadapt` and an example, for any toolchain file."""

from codegen.layouts.about import About
from codegen.layouts.library import Library, example

HEADERS = "include/"
SOURCES = "src/"


def listing(names: tuple[str, ...], prefix: str, indent: str = "    ") -> str:
    """One source a line."""
    return "\n".join(f"{indent}{prefix}{name}" for name in names)


def files(package: About, parts: Library) -> dict[str, bytes]:
    """CMakeLists.txt, include/, src/ and examples/learn/main.c."""
    lists = f"""\
# SPDX-License-Identifier: Apache-2.0
# {package.title}: link the target `hadapt`. -DHADAPT_EXAMPLE=ON builds the example too.
cmake_minimum_required(VERSION 3.13)
project({package.slug} VERSION {package.version} LANGUAGES C)

option(HADAPT_EXAMPLE "Build the example program" OFF)

add_library(hadapt STATIC
{listing(parts.compiled, SOURCES)}
)
target_include_directories(hadapt PUBLIC include PRIVATE src)
set_target_properties(hadapt PROPERTIES C_STANDARD 11 C_STANDARD_REQUIRED ON C_EXTENSIONS OFF)

if(HADAPT_EXAMPLE)
    add_executable(learn examples/learn/main.c)
    set_target_properties(learn PROPERTIES C_STANDARD 11 C_STANDARD_REQUIRED ON)
    target_link_libraries(learn PRIVATE hadapt)
endif()
"""
    return {
        **parts.placed(HEADERS, SOURCES),
        "CMakeLists.txt": lists.encode(),
        "examples/learn/main.c": c_example(),
    }


def c_example() -> bytes:
    """The example as a hosted C program."""
    return example(
        include="#include <stdio.h>\n",
        say='(void)printf("class %u\\n", (unsigned)label);',
        head="int main(void) {",
        tail="    return status == HAD_OK ? 0 : 1;\n}",
    )
