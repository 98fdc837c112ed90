# SPDX-License-Identifier: Apache-2.0
"""python -m server.demo: see server.demo."""

import os

import typer

# One thread for each matrix product, here and in the service: these products are small, and on a
# busy machine the threads of OpenBLAS wait for each other far longer than they calculate.
# It reads the variable when NumPy is loaded, so nothing that does so is imported before.
THREADS = "OPENBLAS_NUM_THREADS"


def main() -> None:
    """Run the command."""
    os.environ.setdefault(THREADS, "1")
    from server.demo.main import demo

    typer.run(demo)


if __name__ == "__main__":
    main()
