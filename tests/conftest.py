# SPDX-License-Identifier: Apache-2.0
"""Rules for every test: in CI a skip is a failure; goldens change only on request."""

import os
from collections.abc import Generator
from typing import Any

import pytest

IN_CI = os.environ.get("CI", "").lower() == "true"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of the whole suite."""
    parser.addoption(
        "--update-golden",
        action="store_true",
        help="Rewrite the approved files under tests/golden instead of comparing with them.",
    )


def forbid_skip(report: Any) -> None:
    """Turn a skip into a failure that gives the skip's reason; an expected failure stays one.

    Args:
        report: a pytest report of a test or of a collected file; changed in place.
    """
    if report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"in CI a skip is a failure: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that skips fails in CI."""
    report = yield
    if IN_CI:
        forbid_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """A file that skips itself fails in CI."""
    report = yield
    if IN_CI:
        forbid_skip(report)
    return report
