# SPDX-License-Identifier: Apache-2.0
"""The commands of `hadapt`, one module a group; server.cli puts them together."""
