# SPDX-License-Identifier: Apache-2.0
"""The service under load, measured by an outside tool."""
