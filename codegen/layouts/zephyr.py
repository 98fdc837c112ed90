# SPDX-License-Identifier: Apache-2.0
"""A Zephyr module: add its folder to EXTRA_ZEPHYR_MODULES and set CONFIG_HADAPT=y."""

from codegen.layouts.about import About
from codegen.layouts.cmake import HEADERS, SOURCES, listing
from codegen.layouts.library import Library, example


def files(package: About, parts: Library) -> dict[str, bytes]:
    """zephyr/ (module.yml, CMakeLists.txt, Kconfig), include/, src/ and samples/learn/."""
    module = f"""\
# SPDX-License-Identifier: Apache-2.0
name: {package.slug}
build:
  cmake: zephyr
  kconfig: zephyr/Kconfig
"""
    lists = f"""\
# SPDX-License-Identifier: Apache-2.0
if(CONFIG_HADAPT)
    zephyr_include_directories(../include)
    zephyr_library_named(hadapt)
    zephyr_library_include_directories(../src)
    zephyr_library_sources(
{listing(parts.compiled, f"../{SOURCES}", " " * 8)}
    )
endif()
"""
    kconfig = f"""\
# SPDX-License-Identifier: Apache-2.0
config HADAPT
    bool "Hadapt learner"
    help
      {package.title}: a network that runs and learns with integers only.
"""
    return {
        **parts.placed(HEADERS, SOURCES),
        "zephyr/module.yml": module.encode(),
        "zephyr/CMakeLists.txt": lists.encode(),
        "zephyr/Kconfig": kconfig.encode(),
        **sample(),
    }


def sample() -> dict[str, bytes]:
    """An application of the module."""
    lists = b"""\
# SPDX-License-Identifier: Apache-2.0
cmake_minimum_required(VERSION 3.20.0)
list(APPEND EXTRA_ZEPHYR_MODULES ${CMAKE_CURRENT_SOURCE_DIR}/../..)
find_package(Zephyr REQUIRED HINTS $ENV{ZEPHYR_BASE})
project(learn LANGUAGES C)
target_sources(app PRIVATE src/main.c)
"""
    config = b"# SPDX-License-Identifier: Apache-2.0\nCONFIG_HADAPT=y\nCONFIG_PRINTK=y\n"
    main = example(
        include="#include <zephyr/sys/printk.h>\n",
        say='printk("class %u\\n", (unsigned)label);',
        head="int main(void) {",
        tail="    return status == HAD_OK ? 0 : 1;\n}",
    )
    return {
        "samples/learn/CMakeLists.txt": lists,
        "samples/learn/prj.conf": config,
        "samples/learn/src/main.c": main,
    }
