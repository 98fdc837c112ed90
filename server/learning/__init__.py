# SPDX-License-Identifier: Apache-2.0
"""Learning: the engine's port, the accuracy matrix and its metrics. No input or output."""
