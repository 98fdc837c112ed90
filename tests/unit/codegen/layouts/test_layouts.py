# SPDX-License-Identifier: Apache-2.0
"""Every layout is built as its users build it, or read by its ecosystem's own reader.

Where an ecosystem's build system cannot be had (Arduino, Zephyr and ESP-IDF need downloads of
gigabytes), the few functions that a layout calls are defined here, and the real CMake runs them.
"""

import json
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import kconfiglib
import pytest
import yaml
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from codegen.field import Field
from codegen.generate import generate, write_folder
from codegen.layouts import LAYOUTS, arrange
from codegen.layouts.about import about
from device.harness.boards import BOARDS
from device.harness.toolchain import find_toolchain
from tests.parity.models import ModelSpec, make_model

MODEL = make_model(ModelSpec("Gesture 3 (lab)", (6, 5, 3), n_classes=2, arithmetic={"batch": 4}))
BOARD = "mps2-an386"
SLUG = "hadapt_gesture_3_lab"
STRICT = "-Wall -Wextra -Wconversion -Wshadow -pedantic -Werror"
LIBRARIES = [name for name in LAYOUTS if name not in ("plain", "field")]


def arranged(layout: str) -> dict[str, bytes]:
    """Files of the model in a layout."""
    field = Field() if layout == "field" else None
    return arrange(generate(MODEL, BOARDS[BOARD], field=field), layout, MODEL, BOARD)


@pytest.fixture(params=LIBRARIES)
def layout(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each library layout."""
    yield request.param


def run(*command: str | Path, cwd: Path) -> str:
    """Run a tool that has to succeed; its output."""
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def cmake(folder: Path, *options: str) -> Path:
    """Configure and build a folder with CMake; the build folder."""
    build = folder / "build"
    run("cmake", "-S", folder, "-B", build, f"-DCMAKE_C_FLAGS={STRICT}", *options, cwd=folder)
    run("cmake", "--build", build, cwd=folder)
    return build


def test_layouts_are_those_of_the_documentation() -> None:
    assert LAYOUTS == (
        "plain",
        "field",
        "arduino",
        "cmake",
        "cmsis-pack",
        "esp-idf",
        "platformio",
        "zephyr",
    )


def test_arrange_any_layout_has_every_source_licence_and_bill_of_materials(layout: str) -> None:
    files = arranged(layout)
    plain = generate(MODEL, BOARDS[BOARD])
    wanted = {Path(p).name for p in plain if p.endswith(".c") and not p.startswith("port/")}
    assert wanted <= {Path(p).name for p in files}
    assert not any(path.startswith("port/") for path in files)
    assert files["LICENSE"] == Path("LICENSE").read_bytes()
    assert files["manifest.json"] == plain["manifest.json"]
    assert arranged(layout) == files


def test_arrange_plain_keeps_the_firmware() -> None:
    files = arranged("plain")
    assert generate(MODEL, BOARDS[BOARD]).items() <= files.items()
    assert {"LICENSE", "sbom.cdx.json"} <= files.keys()


def test_arrange_unknown_layout_raises() -> None:
    with pytest.raises(KeyError):
        arranged("makefile")


@pytest.mark.parametrize("name", ["", "ü</x>", 'a"b\\c\n# d', "x" * 300, "123"])
def test_about_hostile_name_gives_safe_names(name: str) -> None:
    package = about(make_model(ModelSpec(name, (6, 5, 3), arithmetic={"batch": 4})), BOARD)
    assert package.slug.isidentifier() and package.slug.startswith("hadapt_")
    assert len(package.slug) <= 50 and len(package.title) <= 80
    assert not set(package.title) & set('"<>&\\\n')


def test_bill_of_materials_passes_the_schema_of_cyclonedx(layout: str) -> None:
    text = arranged(layout)["sbom.cdx.json"].decode()
    validator = JsonStrictValidator(SchemaVersion.V1_6)
    assert validator.validate_str(text) is None
    assert "libsodium" not in text
    broken = text.replace('"firmware"', '"rocket"')
    assert validator.validate_str(broken) is not None


def test_field_device_has_its_functions_and_names_its_third_party() -> None:
    files = arranged("field")
    assert b"#define HAD_FIELD " in files["hadapt_config.h"]
    assert b"HAD_FIELD" not in arranged("plain")["hadapt_config.h"]
    text = files["sbom.cdx.json"].decode()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    assert "pkg:pypi/pynacl@" in text


def test_cmake_library_and_example_build_without_a_warning_and_learn(tmp_path: Path) -> None:
    build = cmake(write_folder(arranged("cmake"), tmp_path), "-DHADAPT_EXAMPLE=ON")
    lines = run(build / "learn", cwd=tmp_path).splitlines()
    assert len(lines) == 2 and all(line.startswith("class ") for line in lines)


ARDUINO_H = """
#include <stdint.h>
struct SerialPort {
    void begin(long baud);
    void println(unsigned long value);
    void println(const char *text);
};
extern SerialPort Serial;
void setup(void);
void loop(void);
"""


def test_arduino_library_compiles_for_the_board_and_its_sketch_as_cpp(tmp_path: Path) -> None:
    write_folder(arranged("arduino"), tmp_path)
    (tmp_path / "core").mkdir()
    (tmp_path / "core" / "Arduino.h").write_text(ARDUINO_H)
    compiler = find_toolchain(BOARDS[BOARD]).command[0]
    flags = (*BOARDS[BOARD].flags_gcc, *STRICT.split(), "-c", "-I", "src")
    for source in sorted((tmp_path / "src").rglob("*.c")):
        run(compiler, *flags, "-std=gnu11", source, cwd=tmp_path)
    sketch = tmp_path / "examples" / "Learn" / "Learn.ino"
    run(
        compiler.replace("-gcc", "-g++"),
        *flags,
        "-std=gnu++17",
        "-Icore",
        *("-x", "c++", sketch),
        cwd=tmp_path,
    )


def test_arduino_properties_have_all_that_the_library_specification_demands() -> None:
    text = arranged("arduino")["library.properties"].decode()
    properties = dict(line.split("=", 1) for line in text.splitlines())
    required = {"name", "version", "author", "maintainer", "sentence", "paragraph", "category"}
    assert required | {"url", "architectures", "includes"} == properties.keys()
    assert arduino_faults(arranged("arduino")) == []
    assert properties["name"] == SLUG
    assert all(value for value in properties.values())


CATEGORIES = (
    "Display", "Communication", "Signal Input/Output", "Sensors", "Device Control", "Timing",
    "Data Storage", "Data Processing", "Other",
)  # fmt: skip


def arduino_faults(files: dict[str, bytes]) -> list[str]:
    """Rules of the library specification 1.5 that a library breaks; its linter is on no index."""
    lines = files["library.properties"].decode().splitlines()
    values = dict(line.split("=", 1) for line in lines)
    name, sentence = values["name"], values["sentence"]
    sketches = [Path(path) for path in files if path.endswith(".ino")]
    headers = {Path(path).name for path in files if path.startswith("src/")}
    checks = {
        "a key twice": len(values) == len(lines),
        "name": re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_. -]{0,62}", name) is not None,
        "name is taken": not name.lower().startswith("arduino"),
        "version is no SemVer": re.fullmatch(r"\d+\.\d+\.\d+([-+][\w.-]+)?", values["version"])
        is not None,
        "paragraph repeats sentence": sentence not in values["paragraph"],
        "sentence": sentence.endswith(".") and len(sentence) <= 200,
        "category": values["category"] in CATEGORIES,
        "url": re.fullmatch(r"https?://\S+", values["url"]) is not None,
        "architectures": re.fullmatch(r"\*|\w+(,\w+)*", values["architectures"]) is not None,
        "includes": set(values["includes"].split(",")) <= headers,
        "spaces around =": all(k == k.strip() and v == v.strip() for k, v in values.items()),
        "sketch and folder": all(path.stem == path.parent.name for path in sketches),
        "no example": bool(sketches) and all(p.parts[0] == "examples" for p in sketches),
        "sources beside src/": not any("/" not in p and p.endswith((".c", ".h")) for p in files),
        "src/ beside utility/": not any(path.startswith("utility/") for path in files),
    }
    return [rule for rule, held in checks.items() if not held]


@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [
        (b"category=Data Processing", b"category=Learning", "category"),
        (b"version=", b"version=v", "version is no SemVer"),
        (b"name=hadapt", b"name=Arduino hadapt", "name is taken"),
        (b"includes=hadapt.h", b"includes=adapt.h", "includes"),
        (b"url=https", b"url=see", "url"),
    ],
)
def test_planted_fault_in_the_arduino_properties_is_found(
    old: bytes, new: bytes, rule: str
) -> None:
    files = arranged("arduino")
    changed = files["library.properties"].replace(old, new)
    assert rule in arduino_faults({**files, "library.properties": changed})


def test_platformio_json_names_what_is_there() -> None:
    files = arranged("platformio")
    document = json.loads(files["library.json"])
    assert {"name", "version", "description", "license", "headers"} <= document.keys()
    for entry in document["examples"]:
        assert all(f"{entry['base']}/{name}" in files for name in entry["files"])
    assert f"{document['build']['includeDir']}/{document['headers']}" in files


# The packer reads the names of licences from the network; here it has the one that there is.
PIO_PACK = """
import sys
from platformio.package.manifest.schema import ManifestSchema
from platformio.package.pack import PackagePacker
known = {"licenses": [{"licenseId": "Apache-2.0"}]}
ManifestSchema.load_spdx_licenses = staticmethod(lambda: known)
PackagePacker(sys.argv[1]).pack(sys.argv[2])
"""


def pio_pack(files: dict[str, bytes], folder: Path) -> subprocess.CompletedProcess[str]:
    """What `pio pkg pack` does, without the network."""
    write_folder(files, folder / "library")
    return subprocess.run(
        [sys.executable, "-c", PIO_PACK, str(folder / "library"), str(folder / "out.tar.gz")],
        env={**os.environ, "PLATFORMIO_CORE_DIR": str(folder / "core")},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_platformio_packs_its_own_layout_and_arduinos(tmp_path: Path) -> None:
    """PlatformIO's manifest schema reads library.properties too."""
    for name in ("platformio", "arduino"):
        done = pio_pack(arranged(name), tmp_path / name)
        assert done.returncode == 0, done.stderr
        with tarfile.open(tmp_path / name / "out.tar.gz") as packed:
            assert set(packed.getnames()) >= {n for n in arranged(name) if n.endswith(".c")}


def test_platformio_finds_a_planted_fault(tmp_path: Path) -> None:
    files = arranged("platformio")
    wrong = files["library.json"].replace(b'"version": "', b'"version": "x')
    done = pio_pack({**files, "library.json": wrong}, tmp_path)
    assert done.returncode != 0 and "version" in done.stderr


ZEPHYR_STUB = """
cmake_minimum_required(VERSION 3.20)
project(stub C)
set(CONFIG_HADAPT y)
macro(zephyr_include_directories)
    include_directories(${ARGV})
endmacro()
macro(zephyr_library_named name)
    set(library ${name})
    add_library(${name} STATIC)
endmacro()
macro(zephyr_library_include_directories)
    target_include_directories(${library} PRIVATE ${ARGV})
endmacro()
macro(zephyr_library_sources)
    target_sources(${library} PRIVATE ${ARGV})
endmacro()
add_subdirectory(zephyr)
"""


def test_zephyr_module_is_read_by_kconfig_and_built_by_cmake(tmp_path: Path) -> None:
    files = arranged("zephyr")
    write_folder(files, tmp_path)
    module = yaml.safe_load(files["zephyr/module.yml"])
    assert module == {"name": SLUG, "build": {"cmake": "zephyr", "kconfig": "zephyr/Kconfig"}}
    config = kconfiglib.Kconfig(str(tmp_path / "zephyr" / "Kconfig"))
    assert config.syms["HADAPT"].type == kconfiglib.BOOL
    config.load_config(str(tmp_path / "samples/learn/prj.conf"))
    assert config.syms["HADAPT"].str_value == "y"
    (tmp_path / "CMakeLists.txt").write_text(ZEPHYR_STUB)
    assert (cmake(tmp_path) / "zephyr" / "libhadapt.a").exists()


ESP_STUB = """
cmake_minimum_required(VERSION 3.16)
project(stub C)
function(idf_component_register)
    cmake_parse_arguments(c "" "" "SRCS;INCLUDE_DIRS;PRIV_INCLUDE_DIRS" ${ARGN})
    add_library(component STATIC ${c_SRCS})
    target_include_directories(component PUBLIC ${c_INCLUDE_DIRS} PRIVATE ${c_PRIV_INCLUDE_DIRS})
endfunction()
add_subdirectory(component)
"""


def test_esp_idf_component_is_packed_by_compote_and_built_by_cmake(tmp_path: Path) -> None:
    component = write_folder(arranged("esp-idf"), tmp_path / "component")
    run(
        Path(sys.executable).with_name("compote"),
        "component",
        "pack",
        "--name",
        SLUG,
        cwd=component,
    )
    assert list((component / "dist").glob(f"{SLUG}_*.tgz"))
    (tmp_path / "CMakeLists.txt").write_text(ESP_STUB)
    assert (cmake(tmp_path) / "component" / "libcomponent.a").exists()


def test_cmsis_pack_description_names_files_that_are_there() -> None:
    files = arranged("cmsis-pack")
    root = ElementTree.fromstring(files[f"Hadapt.{SLUG}.pdsc"])
    order = ["vendor", "name", "description", "url", "license", "releases", "conditions"]
    assert [child.tag for child in root] == [*order, "components"]
    listed = root.findall("components/component/files/file")
    for entry in listed:
        name = entry.attrib["name"]
        folder = entry.attrib["category"] == "include"
        assert any(path.startswith(name) for path in files) if folder else name in files
    sources = {e.attrib["name"] for e in listed if e.attrib["category"] == "source"}
    assert sources == {path for path in files if path.endswith(".c")}
    conditions = {c.attrib["id"] for c in root.findall("conditions/condition")}
    assert root.findall("components/component")[0].attrib["condition"] in conditions


def test_bytes_of_a_zip_are_readable_by_others(tmp_path: Path) -> None:
    path = tmp_path / "x.pack"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in sorted(arranged("cmsis-pack").items()):
            archive.writestr(name, content)
    assert zipfile.ZipFile(path).testzip() is None
