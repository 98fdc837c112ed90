# SPDX-License-Identifier: Apache-2.0
"""Kinds of jobs, by name."""

from server.jobs.kinds import device_test, firmware, import_model, reports, update
from server.jobs.runner import Machine

MACHINES: dict[str, Machine] = {
    "import": import_model.advance,
    "update": update.advance,
    "firmware": firmware.advance,
    "device-test": device_test.advance,
    "reports": reports.advance,
}
