# SPDX-License-Identifier: Apache-2.0
"""The demonstration: the main job end to end on real data, through the REST service.

    python -m server.demo [--data digits] [--out out] [--boards ..] [--quick]

It writes demo.json and report.html into the output folder.
"""
