# SPDX-License-Identifier: Apache-2.0
"""A CMSIS-Pack: the contents of the pack with its description, to be zipped as a .pack."""

from xml.etree import ElementTree

from codegen.layouts.about import AUTHOR, SUMMARY, About
from codegen.layouts.cmake import HEADERS, SOURCES, c_example
from codegen.layouts.library import UMBRELLA, Library

SCHEMA = "http://www.w3.org/2001/XMLSchema-instance"
SCHEMA_VERSION = "1.7.7"
# A release needs a date. It is the format's, not the day of generation: same model, same bytes.
RELEASE_DATE = "2026-01-01"
MAIN = "examples/learn/main.c"


def files(package: About, parts: Library) -> dict[str, bytes]:
    """Hadapt.<slug>.pdsc, include/, src/ and an example."""
    description = describe(package, parts)
    ElementTree.indent(description)
    text = ElementTree.tostring(description, encoding="utf-8", xml_declaration=True)
    return {
        **parts.placed(HEADERS, SOURCES),
        f"{AUTHOR}.{package.slug}.pdsc": text + b"\n",
        MAIN: c_example(),
    }


def describe(package: About, parts: Library) -> ElementTree.Element:
    """The package description."""
    root = ElementTree.Element(
        "package",
        {
            "schemaVersion": SCHEMA_VERSION,
            "xmlns:xs": SCHEMA,
            "xs:noNamespaceSchemaLocation": "PACK.xsd",
        },
    )
    _text(root, "vendor", AUTHOR)
    _text(root, "name", package.slug)
    _text(root, "description", f"{SUMMARY}: {package.title}")
    _text(root, "url", "https://arxiv.org/abs/2310.03675")
    _text(root, "license", "LICENSE")
    releases = ElementTree.SubElement(root, "releases")
    release = ElementTree.SubElement(
        releases, "release", {"version": package.version, "date": RELEASE_DATE}
    )
    release.text = f"Model {package.model_id}"
    conditions = ElementTree.SubElement(root, "conditions")
    cortex_m = ElementTree.SubElement(conditions, "condition", {"id": "Cortex-M"})
    ElementTree.SubElement(cortex_m, "accept", {"Dcore": "Cortex-M*"})
    _components(root, package, parts)
    return root


def _components(root: ElementTree.Element, package: About, parts: Library) -> None:
    components = ElementTree.SubElement(root, "components")
    component = ElementTree.SubElement(
        components,
        "component",
        {
            "Cclass": "Machine Learning",
            "Cgroup": "Hadapt",
            "Csub": package.slug,
            "Cversion": package.version,
            "condition": "Cortex-M",
        },
    )
    _text(component, "description", package.title)
    listed = ElementTree.SubElement(component, "files")
    _file(listed, "include", HEADERS)
    _file(listed, "header", HEADERS + UMBRELLA)
    _file(listed, "include", SOURCES, "private")
    for name in parts.compiled:
        _file(listed, "source", SOURCES + name)
    _file(listed, "source", MAIN, "template")


def _text(parent: ElementTree.Element, tag: str, text: str) -> None:
    ElementTree.SubElement(parent, tag).text = text


def _file(parent: ElementTree.Element, category: str, name: str, attribute: str = "") -> None:
    fields = {"category": category, "name": name}
    if attribute == "template":
        fields |= {"attr": "template", "select": "A program that learns one sample"}
    elif attribute:
        fields |= {"scope": attribute}
    ElementTree.SubElement(parent, "file", fields)
