# SPDX-License-Identifier: Apache-2.0
"""The runtime's lint against MISRA C:2012: cppcheck's `misra` addon over generated folders.

A source is read as a board compiles it: with the switches of the model and what the board's own
compiler predefines. SUBJECTS are chosen so that every source is more than empty in one of them,
which is checked. Rules that the runtime departs from are in DEVIATIONS with the reason.
"""

import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.models import SMALL_INT8, subject
from codegen.generate import generate, generate_network, runtime_files, write_folder
from device.harness.boards import BOARDS
from device.harness.run import run_limited
from device.harness.toolchain import find_toolchain
from device.twin.inference import AnyModel, InferenceModel
from device.twin.model import IntModel
from tests.parity.audio import make_mfcc_model
from tests.parity.convs import CONV_SPECS, make_conv_model
from tests.parity.models import METHOD_SPECS, make_model
from tests.parity.signals import make_signal_model
from tests.parity.test_expansion import growing
from tests.parity.test_inference_only import network

LIMIT_S = 900.0
FINDING = re.compile(r"^(misra-c2012-[\d.]+|[a-zA-Z]\w+) (\S+):(\d+) ")
# What the addon takes for a literal with the suffix l: hexadecimal digits, then l, as in `cell`.
LITERAL = re.compile(r"(?<![\w.])\d[\w.]*l(?![\w])")
PREDEFINED = re.compile(r"^#define (__(?:ARM|arm|thumb|riscv|BYTE_ORDER|ORDER)\w*) (\S+)$", re.M)
FIELD = ("HAD_FIELD=1", "HAD_GUARD_SLOTS=4U", "HAD_FLASH_BLOCK_BYTES=1024U")

CORRECTED = next(spec for spec in METHOD_SPECS if spec.bias_correction)

Finding = tuple[str, str, int]  # rule or cppcheck's own id, file, line


@dataclass(frozen=True)
class Subject:
    """What is read: a model's folder for a board, with definitions."""

    name: str
    board: str
    model: Callable[[], AnyModel]
    defines: tuple[str, ...] = ()


def _conv(name: str) -> IntModel:
    return make_conv_model(next(spec for spec in CONV_SPECS if spec.name == name))


SUBJECTS = (
    Subject("m4-field", "mps2-an386", lambda: subject(SMALL_INT8).model, FIELD),
    Subject("m4-convolutions", "mps2-an386", lambda: _conv("groups")),
    Subject("m55", "mps3-an547", lambda: subject(SMALL_INT8).model),
    Subject("m3-audio", "mps2-an385", make_mfcc_model),
    Subject("m0-statistics", "microbit", make_signal_model),
    Subject("m0-correction", "microbit", lambda: make_model(CORRECTED)),
    Subject("host-convolutions", "host", lambda: _conv("conv2d"), ("HAD_COUNTERS",)),
    Subject("host-growing", "host", lambda: growing("der"), FIELD),
    Subject("m0-network", "microbit", lambda: network("embedding")),
)
# Why a rule is departed from, or a note of cppcheck's own is left; with a file, only there.
DEVIATIONS = {
    "1.4": "_Alignas gives the arena of a network that only runs the alignment of its values",
    "2.2": "a product with a switch that is 0 in this model",
    "2.3": "a type or tag serves a table that not every model has",
    "2.4": "a type or tag serves a table that not every model has",
    "2.5": "a macro serves an option that this model does not use",
    "5.6": "a typedef and its tag share the name, so that both forms can be written",
    "5.7": "a typedef and its tag share the name, so that both forms can be written",
    "5.9": "static helpers of one file may be called like those of another; one kernel a file",
    "8.7": "a function of a public header is used by programs, not always by the runtime",
    "8.9": "tables stand beside the function they serve",
    "8.14": "`restrict` tells compilers what the headers' contracts say",
    "9.3": "an initialiser `{0}` clears the whole object",
    "9.5": "an initialiser `{0}` clears the whole object",
    "10.1": "arithmetic right shift of signed values is required, and asserted at compile time",
    "10.3": "literals of an enumeration are stored in their width",
    "10.4": "signed and unsigned operands meet where the range is proved",
    "10.6": "a difference of small literals, as of a sign, is stored in a wider type",
    "10.7": "a sum or product is widened after it was proved to fit",
    "10.8": "a sum is widened after it was proved to fit",
    "11.4": "addresses are compared with alignments",
    "11.5": "a state field is bytes when it is hashed and numbers when it is used",
    "11.9": "0 as the null pointer",
    "12.1": "usual precedence of arithmetic is relied on",
    "12.2": "a shift count is below 32 by a bound that the file states",
    "12.3": "a comma separates declarations or arguments of a macro",
    "13.3": "an increment stands with the store it belongs to",
    "13.4": "an assignment's value is used",
    "14.2": "a loop steps through blocks",
    "15.5": "early return on error, so that the main path is straight",
    "17.3": "__builtin_memset: in a freestanding build memset itself would be called, not inlined",
    "17.7": "memcpy's result is of no use",
    "17.8": "a pointer parameter walks through its array",
    "18.4": "pointers walk through arrays",
    "19.2": "the arena is a union: its owners never live at the same time, as the plan shows",
    "20.7": "pieces of inline assembly are strings side by side, which take no parentheses",
    "20.9": "a switch behind && is not defined, so 0, where the one before it is 0",
    "20.10": "inline assembly marks immediates with #, which the addon takes for the operator",
    "21.15": "words are read from octets by memcpy: the way without aliasing or alignment",
    "2.7": "an operand of inline assembly is a use, which the addon does not see",
    "9.2": "a struct of scalars and arrays of one is written in one line",
    "14.4": "a macro of the plan is a constant 0 or 1 where the model has one kind of layer",
    "15.7": "a chain of cases ends without an empty else where the others need nothing",
    "21.16": "states are whole copies of each other: padding is copied too",
    "arrayIndexOutOfBoundsCond had_wire.c": "the index is below the table's length, which is asked",
    "constParameter": "a function has the signature of its variants, which write",
    "constParameterPointer": "a function has the signature of its variants, which write",
    "constVariable": "an array is written by a variant of the kernel",
    "constVariablePointer": "a pointer is written through by a variant of the kernel",
    "knownConditionTrueFalse": "a condition is constant in the models that need no other case",
    "shiftNegativeLHS": "arithmetic right shift of signed values is required, and asserted",
    "unreadVariable had_update.c": "lanes of the count are read by the variant without DSP",
    "unsignedLessThanZero": "a bound of an option is 0 where the option is left out",
    "variableScope": "arrays stand at the head of the function that pays for them in stack",
}


def lint(chosen: Subject) -> tuple[set[Finding], set[str]]:
    """Findings in the generated sources and the runtime; sources that are empty there.

    Raises: RuntimeError if cppcheck or the compiler failed.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_folder(_files(chosen), folder)
        empty = {path.name for path in _sources(folder) if _is_empty(path, chosen, folder)}
        there = {path.name for path in _sources(folder)}
        empty |= {Path(n).name for n in runtime_files() if n.endswith(".c")} - there
        files = [str(p.relative_to(folder)) for p in _sources(folder) if p.name not in empty]
        program = Path(sys.executable).with_name("cppcheck")
        command = [str(program), "--addon=misra", "--std=c11", "--enable=warning,style", "--quiet"]
        # All switches are set: other configurations than this one do not exist.
        command += ["--max-configs=1", "-j2", *(f"-D{name}" for name in _definitions(chosen))]
        command += ["-I.", "-Iruntime/include", "--template={id} {file}:{line} {message}", *files]
        done = run_limited(command, cwd=folder, timeout_s=LIMIT_S)
        if done.returncode != 0:
            raise RuntimeError(f"cppcheck failed: {done.stdout[-2000:]}")
        found = [FINDING.match(line) for line in done.stdout.splitlines()]
        return {(m[1], m[2], int(m[3])) for m in found if m and not is_name(m, folder)}, empty


def _files(chosen: Subject) -> dict[str, bytes]:
    model, board = chosen.model(), BOARDS[chosen.board]
    if isinstance(model, InferenceModel):  # sources of learning cannot read its configuration
        return generate_network(model, board)
    return {**generate(model, board), **runtime_files()}


def _sources(folder: Path) -> list[Path]:
    return [*sorted((folder / "runtime" / "src").rglob("*.c")), *sorted(folder.glob("hadapt_*.c"))]


def _compiler(chosen: Subject, *more: str) -> list[str]:
    board = BOARDS[chosen.board]
    toolchain = find_toolchain(board)
    flags = board.flags_zig if toolchain.kind == "zig" else board.flags_gcc
    return [*toolchain.command, *flags, "-E", "-I.", "-Iruntime/include", *more]


def _definitions(chosen: Subject) -> list[str]:
    """The subject's own, and those of the compiler that sources ask for."""
    done = subprocess.run(
        _compiler(chosen, "-dM", "-x", "c", "-"), input="", capture_output=True, text=True
    )
    if done.returncode != 0:
        raise RuntimeError(f"the compiler of {chosen.board} failed: {done.stderr[-2000:]}")
    known = [f"{name}={value}" for name, value in PREDEFINED.findall(done.stdout)]
    return [*chosen.defines, *known]


def _is_empty(path: Path, chosen: Subject, folder: Path) -> bool:
    """True if the preprocessor leaves no line of the source itself."""
    defines = [f"-D{name}" for name in chosen.defines]
    done = subprocess.run(
        _compiler(chosen, *defines, str(path.relative_to(folder))),
        cwd=folder,
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        raise RuntimeError(f"{path.name} for {chosen.board}: {done.stderr[-2000:]}")
    own = False
    for line in done.stdout.splitlines():
        if line.startswith("# "):
            own = line.split('"')[1].endswith(path.name)
        elif own and line.strip():
            return False
    return True


def is_name(finding: re.Match[str], folder: Path) -> bool:
    """True for a finding of rule 7.3 in a line where no number ends in l."""
    if finding.group(1) != "misra-c2012-7.3":
        return False
    lines = (folder / finding.group(2)).read_text().splitlines()
    return not LITERAL.search(lines[int(finding.group(3)) - 1])


def name_of(finding: Finding) -> str:
    """A rule's number, or the id of cppcheck's own note."""
    return finding[0].removeprefix("misra-c2012-")


def reason_of(finding: Finding) -> str | None:
    """Why the finding is left; None if nobody said so."""
    name = name_of(finding)
    return DEVIATIONS.get(name) or DEVIATIONS.get(f"{name} {Path(finding[1]).name}")
