# SPDX-License-Identifier: Apache-2.0
"""Protocols of the stores, and their database and blob versions."""
