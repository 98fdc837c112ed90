# SPDX-License-Identifier: Apache-2.0
"""Helpers of those who work on the project; nothing here is installed."""
