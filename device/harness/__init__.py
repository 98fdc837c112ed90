# SPDX-License-Identifier: Apache-2.0
"""Builds the runtime for a board, drives it on the host or in an emulator, and measures it."""
