# SPDX-License-Identifier: Apache-2.0
"""Rules for every test: in CI a skip is a failure; goldens change only on request.

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
