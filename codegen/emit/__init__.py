# SPDX-License-Identifier: Apache-2.0
"""Plan and model to C text: pure functions, one section each. They decide nothing."""
