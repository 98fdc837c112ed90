# SPDX-License-Identifier: Apache-2.0
"""The bit-exact oracle of the device in NumPy; see device/SPEC.md."""
