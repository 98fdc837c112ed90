# SPDX-License-Identifier: Apache-2.0
"""Class-incremental accuracy on real data, integer against float32; a command: see __main__."""
