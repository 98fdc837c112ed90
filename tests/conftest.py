# SPDX-License-Identifier: Apache-2.0
"""Rules for every test: skips fail in CI, goldens change only on request, slow files begin.

A test that needs a compiler or an emulator simply uses it: where the harness says that the tool is
missing, the test is reported as skipped, and in CI it fails.
"""

import os
from collections.abc import Generator
from typing import Any

import pytest

from device.harness.errors import ToolchainMissingError
from server.errors import ToolMissingError

IN_CI = os.environ.get("CI", "").lower() == "true"
MISSING_TOOL = (ToolchainMissingError, ToolMissingError)
# Files with tests of 20 seconds and more, the longest first: processes that share the tests end at
# about the same time when no long one is left for the end.
SLOW_FILES = (
    "test_documents.py",
    "test_overflow.py",
    "demo/test_main.py",
    "test_service_kill.py",
    "test_fleet.py",
    "test_fleet_device.py",
    "test_cli_real.py",
)


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


def skip_for_missing_tool(report: pytest.TestReport, item: pytest.Item, error: str) -> None:
    """Turn a failure for want of a tool into a skip that says which."""
    path, line, _ = item.location
    report.outcome = "skipped"
    report.longrepr = (path, (line or 0) + 1, f"Skipped: {error}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the slow files; the order within files stays."""

    def place(item: pytest.Item) -> int:
        path = item.path.as_posix()
        slow = (at for at, name in enumerate(SLOW_FILES) if path.endswith(f"/{name}"))
        return next(slow, len(SLOW_FILES))

    items.sort(key=place)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that skips fails in CI; one that lacks a tool is skipped elsewhere."""
    report = yield
    if IN_CI:
        forbid_skip(report)
    elif call.excinfo is not None and call.excinfo.errisinstance(MISSING_TOOL):
        skip_for_missing_tool(report, item, str(call.excinfo.value))
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """A file that skips itself fails in CI."""
    report = yield
    if IN_CI:
        forbid_skip(report)
    return report
