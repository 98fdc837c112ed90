# SPDX-License-Identifier: Apache-2.0
"""What the importer accepts at most.

Generous for microcontrollers (the largest common part has a few MiB of flash), small enough that
a hostile file is refused in well under two seconds and within a few hundred MiB.
"""

MAX_FILE_BYTES = 32 * 2**20
MAX_FIELDS = 300_000
"""Protobuf fields in the file. A two-byte field costs the parser some hundred bytes of memory."""
MAX_DEPTH = 16
"""Nesting of protobuf messages; a model without subgraphs needs 8."""
MAX_NODES = 4096
MAX_RANK = 8
MAX_ELEMENTS = 2**22
"""Elements of one tensor."""
MAX_FOLDED_ELEMENTS = 2**24
"""Elements of all constants together, read or computed."""
MAX_STEP_ELEMENTS = 2**23
"""Weights of all layers and numbers of all computed tensors: nodes can share one initialiser."""
MAX_FOLDED_PRODUCTS = 2**28
"""Multiplications in folding products of constants."""
MAX_FEATURES = 2**16
"""Numbers in one sample, or in one layer's output."""
MAX_WEIGHT = 2.0**60
"""Magnitude of a weight. Trained weights stay many orders below; products must not overflow."""
MAX_CLASS_NAME_CHARACTERS = 100

MIN_IR_VERSION = 3
MAX_IR_VERSION = 14
MIN_OPSET = 7
MAX_OPSET = 28
MIN_ML_OPSET = 1
MAX_ML_OPSET = 5
