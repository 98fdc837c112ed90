# SPDX-License-Identifier: Apache-2.0
"""One file that holds all that a service has stored, and a service made from it again."""
