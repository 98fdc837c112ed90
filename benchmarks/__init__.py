# SPDX-License-Identifier: Apache-2.0
"""Proof of bit-exactness and exact costs, each a command: see README.md of this folder."""
