# SPDX-License-Identifier: Apache-2.0
"""`make powercut`: power ends at every flash operation of a session of three tasks and an update.

    python -m benchmarks.powercut

Every cut, each torn in six ways, on the host with three kinds of flash, and in QEMU with one: what
`tests/faults/test_powercut.py` does for QEMU with a sample.
"""

import re
import tempfile
from pathlib import Path

from tests.faults.test_powercut import FLASHES, run_driver

RESULT = Path(__file__).parent / "results" / "powercut.md"
FOUND = re.compile(r"(\d+) operations, (\d+) flash operations, (\d+) cuts, (\d+) found")
QEMU = {"mps2-an385": "unit 8, two slots", "mps3-an547": "unit 4, three slots"}
HEAD = """# Power cuts

`make powercut`: a session of provisioning, guard, three tasks with training checkpoints and
commits, a rollback, a signed update and more samples (`tests/faults/powercut/`). Power ends at
every flash operation (a program unit or a block erase), each in six ways: before it, after it,
and torn at four places. After each the device starts from flash; it must find exactly the state
before or after the operation, go on, and end in the twin's state. A single failure ends the run.

| where | flash | operations | flash operations | cuts | found the new state |
| --- | --- | --- | --- | --- | --- |
"""


def run(board: str, flash: str, sample: int = 1) -> str:
    """All cuts. Returns: a row of the table. Raises: RuntimeError with the driver's words."""
    with tempfile.TemporaryDirectory() as folder:
        defines = (*FLASHES[flash], f"SAMPLE={sample}U")
        done = run_driver(Path(folder), defines, board_name=board)
    found = FOUND.search(done.stdout)
    if done.returncode != 0 or found is None:
        raise RuntimeError(f"{board}, {flash}: {done.stdout}{done.stderr}")
    where = "host" if board == "host" else f"QEMU {board}"
    return f"| {where} | {flash} | {' | '.join(found.groups())} |"


def main() -> None:
    """Run all and write the table."""
    rows = [run("host", flash) for flash in FLASHES]
    rows += [run(board, flash) for board, flash in QEMU.items()]
    text = HEAD + "\n".join(rows) + "\n"
    print(text)
    RESULT.write_text(text)


if __name__ == "__main__":
    main()
