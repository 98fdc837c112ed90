# SPDX-License-Identifier: Apache-2.0
"""A short run of libFuzzer over every parser of a field device; `make fuzz` is the long one."""

import shutil
from pathlib import Path

import pytest

from tests.fuzz.device_fuzz import (
    TARGETS,
    build_target,
    run_target,
    write_seeds,
    write_sources,
)

SHORT = ("-runs=4000", "-seed=1")


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sources(tmp_path_factory.mktemp("fuzz") / "sources")


@pytest.mark.parametrize("target", TARGETS)
def test_nothing_is_found_in_a_short_run(target: str, sources: Path, tmp_path: Path) -> None:
    """Seeds, all that was found before, and a few thousand inputs made from them."""
    fuzzer = build_target(sources, target, tmp_path / "fuzzer")
    report = run_target(fuzzer, write_seeds(target, tmp_path / "corpus"), *SHORT)
    assert not report.failed, report.log[-4000:]
    assert report.executions >= 4000 and report.edges > 300


CHECK = "if (gap >= d->columns - d->column) {"


def test_planted_fault_is_found(sources: Path, tmp_path: Path) -> None:
    """Without the check of a gap a sparse row writes behind the weights."""
    copy = shutil.copytree(sources, tmp_path / "sources")
    path = copy / "runtime" / "src" / "field" / "had_decoder.c"
    text = path.read_text()
    assert text.count(CHECK) == 1
    path.write_text(text.replace(CHECK, "if (gap > 4000000U) {"))
    (copy / "objects" / f"{path.stem}.o").unlink(missing_ok=True)
    fuzzer = build_target(copy, "payload", tmp_path / "fuzzer")
    corpus = write_seeds("payload", tmp_path / "corpus")
    report = run_target(fuzzer, corpus, "-runs=300000", "-seed=1", "-max_total_time=60")
    assert report.failed and "had_decoder.c" in report.log
