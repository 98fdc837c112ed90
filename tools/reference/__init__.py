# SPDX-License-Identifier: Apache-2.0
"""The pages of docs/reference, from what they describe: `make reference`.

Text above the marker line of a page is written by hand and kept; what is below is generated.
"""
