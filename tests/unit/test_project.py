# SPDX-License-Identifier: Apache-2.0
"""Rules for the repository as a whole. Each check is also shown to fail on a planted fault."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
# What a package may import of ours; the twin, an oracle, knows nothing but itself.
MAY_IMPORT = {
    "server": {"server", "codegen", "device"},
    "codegen": {"codegen", "device"},
    "device": {"device"},
    "device.twin": {"device.twin"},
}
# Written in parts: this file obeys its own rule.
REGISTRY_HOSTS = [
    ".".join(parts)
    for parts in (
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("npmjs", "org"),
        ("deb", "debian", "org"),
        ("security", "debian", "org"),
    )
]


def tracked(*patterns: str) -> list[Path]:
    """Files of the repository that git knows, and new ones that it does not ignore."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", *patterns]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [
        ROOT / name for name in sorted(filter(None, listed.split("\0"))) if (ROOT / name).is_file()
    ]


def text_of(path: Path) -> str:
    """The file as text; empty for a binary file."""
    data = path.read_bytes()
    return "" if b"\0" in data else data.decode("utf-8")


def machine_traces(text: str) -> list[str]:
    """Paths of a person's or this machine's folders, and hosts of package registries."""
    private = re.findall(r"(?<![\w.$}])/(?:home|Users|root|work)/[\w.-]+", text)
    here = [str(ROOT)] if str(ROOT) in text else []
    return private + here + [host for host in REGISTRY_HOSTS if host in text]


def imported_modules(source: str) -> Iterator[str]:
    """Modules that Python code names in import statements."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module


def wrong_imports(source: str, package: str) -> list[str]:
    """Imports of our packages that `package` may not have."""
    ours = [m for m in imported_modules(source) if m.split(".")[0] in MAY_IMPORT]
    allowed = MAY_IMPORT[package]
    return [m for m in ours if not any(m == a or m.startswith(a + ".") for a in allowed)]


def undocumented_targets(makefile: str) -> list[str]:
    """Targets without a `## text`, which `make help` would not list."""
    rules = re.findall(r"^([a-z][a-z-]*):(?!=)(.*)$", makefile, flags=re.MULTILINE)
    return [name for name, rest in rules if not re.search(r"## \S", rest)]


def has_licence_line(text: str) -> bool:
    """True if one of the first three lines is the SPDX line."""
    return any("SPDX-License-Identifier: Apache-2.0" in line for line in text.splitlines()[:3])


def test_tracked_files_name_no_machine_and_no_registry() -> None:
    found = {str(p.relative_to(ROOT)): machine_traces(text_of(p)) for p in tracked()}
    assert {name: traces for name, traces in found.items() if traces} == {}


@pytest.mark.parametrize("fault", ["x = '/ho" + "me/ann/x'", f"see {ROOT}/y", REGISTRY_HOSTS[0]])
def test_machine_traces_planted_fault_is_found(fault: str) -> None:
    assert machine_traces(fault)


def test_data_beside_the_checkout_is_named_by_the_ci_entry_only() -> None:
    name = "shared" + "/"
    namers = [str(p.relative_to(ROOT)) for p in tracked() if name in text_of(p)]
    assert namers == [".ci/run"]


def test_source_files_have_the_licence_line() -> None:
    sources = tracked("*.py", "*.c", "*.h", "*.sh", "*.ld", "*.in", "Makefile", ".ci/run")
    assert [str(p.relative_to(ROOT)) for p in sources if not has_licence_line(text_of(p))] == []


def test_has_licence_line_planted_fault_is_found() -> None:
    assert not has_licence_line('"""A module."""\n')


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_imports_point_one_way(package: str) -> None:
    files = tracked(package.replace(".", "/") + "/*.py")
    assert files
    found = {str(p.relative_to(ROOT)): wrong_imports(text_of(p), package) for p in files}
    assert {name: modules for name, modules in found.items() if modules} == {}


def test_wrong_imports_planted_fault_is_found() -> None:
    assert wrong_imports("from server.app import create_app", "codegen") == ["server.app"]
    assert wrong_imports("import device.harness.boards", "device.twin") == ["device.harness.boards"]
    assert wrong_imports("def f():\n    import codegen", "device") == ["codegen"]


def test_makefile_every_target_is_documented_and_listed() -> None:
    makefile = text_of(ROOT / "Makefile")
    assert undocumented_targets(makefile) == []
    done = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    listed = {line.split()[0] for line in done.stdout.splitlines() if line.startswith("  ")}
    assert {"demo", "test", "lint", "bench", "serve"} <= listed
    phony = re.search(r"^\.PHONY:((?:.*\\\n)*.*)$", makefile, flags=re.MULTILINE)
    assert phony is not None
    assert listed == set(phony[1].replace("\\", " ").split())


def test_undocumented_targets_planted_fault_is_found() -> None:
    assert undocumented_targets("a: ## does it\nb: a\n\tb\nNAME := a\n") == ["b"]


def test_readme_shows_the_two_commands_and_ci_runs_one() -> None:
    readme = text_of(ROOT / "README.md")
    assert "make demo" in readme
    assert "make test" in readme
    assert "make test" in text_of(ROOT / ".ci" / "run")


def test_constraints_pin_every_dependency_and_name_no_address() -> None:
    lines = [x for x in text_of(ROOT / "constraints.txt").splitlines() if not x.startswith("#")]
    pins = [Requirement(line) for line in lines]
    assert all(re.fullmatch(r"==[\w.]+", str(pin.specifier)) for pin in pins)
    assert not [line for line in lines if "://" in line or line.startswith("-")]
    project = tomllib.loads(text_of(ROOT / "pyproject.toml"))["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    wanted = [Requirement(text) for group in groups for text in group]
    for need in wanted:
        versions = [next(iter(p.specifier)).version for p in pins if p.name == need.name]
        assert versions, need
        assert all(need.specifier.contains(version) for version in versions), need


def test_long_files_are_none() -> None:
    sources = [p for p in tracked("*.py", "*.c", "*.h") if "tests/golden" not in str(p)]
    sizes = {str(p.relative_to(ROOT)): len(text_of(p).splitlines()) for p in sources}
    assert {name: lines for name, lines in sizes.items() if lines > 400} == {}


def test_wheel_holds_the_sources_of_the_device_and_no_tests(tmp_path: Path) -> None:
    from zipfile import ZipFile

    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, capture_output=True, check=True, timeout=120)
    (wheel,) = tmp_path.glob("hadapt-*.whl")
    with ZipFile(wheel) as archive:
        names = set(archive.namelist())
    data = [p for p in tracked("server", "codegen", "device") if p.suffix != ".pyc"]
    assert {str(p.relative_to(ROOT)) for p in data} <= names
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.startswith("hadapt-")} == {"server", "codegen", "device"}
