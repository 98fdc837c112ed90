# SPDX-License-Identifier: Apache-2.0
"""IntModel to a self-contained folder of C sources."""

from pathlib import Path

import device
from codegen.arena import allocate
from codegen.emit.header import config_header
from codegen.emit.network import (
    network_config,
    network_header,
    network_manifest,
    network_readme,
    network_source,
    network_tables,
)
from codegen.emit.project import makefile, manifest, readme
from codegen.emit.source import plan_source
from codegen.emit.tables import model_header, tables_source
from codegen.field import Field, field_config, field_readme
from codegen.inference import network_plan
from codegen.lower import Plan, lower
from codegen.sources import idle_folders, left_out, of_inference
from device.harness.boards import Board
from device.harness.port import port_files
from device.twin.inference import InferenceModel
from device.twin.model import IntModel

RUNTIME_DIR = Path(device.__file__).resolve().parent / "runtime"
RUNTIME_PARTS = ("include/hadapt", "src")


def generate(
    model: IntModel, board: Board, trace: bool = False, field: Field | None = None
) -> dict[str, bytes]:
    """Sources of the firmware of a model on a board.

    Args:
        model: a consistent integer model.
        board: the target; the host gets a layout for wide vectors.
        trace: for comparisons: every layer's result is sent before the reply of INFER.
        field: options of a field device (flash, packets, guard); None: not one. Whoever builds
            it adds `had_port_verify` (hadapt/trust.h), as device.harness.ed25519 does.
    Returns: relative path to content. The same arguments give the same bytes.
    Raises: GenerateError if the model is inconsistent or beyond a limit of the C tables.
    """
    plan = plan_of(model, board)
    texts = {
        "hadapt_config.h": _config(model, plan, board, field),
        "hadapt_model.h": model_header(model, plan, board.name),
        "hadapt_tables.c": tables_source(model, plan, board.name),
        "hadapt_plan.c": plan_source(model, plan, board.name, trace),
        "Makefile": makefile(board, field is not None),
        "README.md": [*readme(model, plan, board)[:-1], *(field_readme() if field else ()), ""],
        "manifest.json": manifest(model, plan, board),
    }
    files = {path: _text(lines) for path, lines in texts.items()}
    if trace:
        files["port/trace.c"] = (RUNTIME_DIR / "port" / "trace.c").read_bytes()
    idle = idle_folders(model, plan, board, field is not None)
    needed = {name: c for name, c in runtime_files().items() if not left_out(name, idle)}
    return {**files, **needed, **port_files(board)}


def generate_network(model: InferenceModel, board: Board, trace: bool = False) -> dict[str, bytes]:
    """Sources of the firmware of an inference-only model (SPEC.md 17) on a board.

    Args and returns: as `generate`.
    """
    plan = network_plan(model)
    arena = allocate(plan.buffers)
    texts = {
        "hadapt_config.h": network_config(model, arena, board),
        "hadapt_model.h": network_header(model, board),
        "hadapt_tables.c": network_tables(model, board),
        "hadapt_plan.c": network_source(model, plan, arena, board, trace),
        "Makefile": makefile(board),
        "README.md": network_readme(model, board),
        "manifest.json": network_manifest(model, arena, board),
    }
    files = {path: _text(lines) for path, lines in texts.items()}
    if trace:
        files["port/trace.c"] = (RUNTIME_DIR / "port" / "trace.c").read_bytes()
    files |= {name: c for name, c in runtime_files().items() if of_inference(name, model)}
    port = port_files(board)
    return {**files, **{name: c for name, c in port.items() if not name.startswith("port/flash_")}}


def plan_of(model: IntModel, board: Board) -> Plan:
    """The plan of a model for a board.

    Raises: GenerateError, see lower.
    """
    return lower(model, host=board.is_host, core=board.core)


def _config(model: IntModel, plan: Plan, board: Board, field: Field | None) -> list[str]:
    more = field_config(model, plan, field)
    return config_header(model, plan, board.name, board.is_host, more)


def runtime_files() -> dict[str, bytes]:
    """The whole fixed runtime, below runtime/."""
    files = sorted(p for part in RUNTIME_PARTS for p in (RUNTIME_DIR / part).rglob("*.[ch]"))
    return {f"runtime/{p.relative_to(RUNTIME_DIR).as_posix()}": p.read_bytes() for p in files}


def write_folder(files: dict[str, bytes], folder: Path) -> Path:
    """Write generated files below a folder. Returns: the folder."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def _text(lines: list[str]) -> bytes:
    # A list that ends in an empty string ends in exactly one line feed.
    return ("\n".join(lines).rstrip("\n") + "\n").encode("ascii", "replace")
