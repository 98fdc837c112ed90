# SPDX-License-Identifier: Apache-2.0
"""Everything that runs on the device, its oracle in NumPy, and the harness that drives it."""
