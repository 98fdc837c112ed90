# SPDX-License-Identifier: Apache-2.0
"""From a float model to the integer model and its generated C sources."""
