# SPDX-License-Identifier: Apache-2.0
"""Use cases, one function each; no HTTP, no SQL."""
