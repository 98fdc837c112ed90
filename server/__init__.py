# SPDX-License-Identifier: Apache-2.0
"""The Hadapt service: REST, durable jobs, storage, and the `hadapt` command."""

__version__ = "0.1.0"
