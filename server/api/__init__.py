# SPDX-License-Identifier: Apache-2.0
"""The REST API: one router a resource; parse, call, reply."""
