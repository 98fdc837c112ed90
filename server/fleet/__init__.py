# SPDX-License-Identifier: Apache-2.0
"""The fleet: signing keys, audit, packets, the hawkBit DDI protocol, rollouts, lineage."""
