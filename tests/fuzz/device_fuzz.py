# SPDX-License-Identifier: Apache-2.0
"""libFuzzer over the parsers of a field device: targets, seeds, builds and runs.

Debian's clang builds them, with address and undefined-behaviour sanitizers: zig's has no libFuzzer.
"""

import hashlib
import re
import shutil
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from codegen.generate import generate, runtime_files, write_folder
from device.harness.boards import BOARDS
from device.harness.errors import ToolchainMissingError
from device.packet import KeyManifest, WireExemplar, build_key_packet, class_id, key_id, read_packet
from device.twin.exemplars import pack_x0
from device.twin.learner import TwinLearner
from device.twin.model import IntModel
from tests.faults.powercut.session import ROOT, VENDOR, identity, make_packet, public
from tests.parity.models import ModelSpec, make_model

TARGETS = {"packet": 1, "payload": 2, "store": 3, "wire": 4, "import": 5, "wire_in_flash": 4}
# Targets of a build that keeps the committed masters in flash alone (SPEC.md 12.5).
SUFFIX = "_in_flash"
IN_FLASH = ("-DHAD_COMMITTED_IN_FLASH=1", "-DHAD_LONGEST_ROW=5U")
SOURCE = Path(__file__).parent / "device" / "targets.c"
REGRESSIONS = Path(__file__).parents[1] / "regression" / "issue_0006_fuzz"
LEFT_OUT = ("port/main.c", "port/host.c", "port/marks.c")
DEFINES = (
    "HAD_FIELD=1",
    "HAD_FLASH_FAULTS=1",
    "HAD_GUARD_SLOTS=3U",
    "HAD_FLASH_BLOCK_BYTES=1024U",
    "HAD_FLASH_BLOCKS=4U",
    "HAD_FLASH_PROGRAM_BYTES=8U",
    "HAD_STAGING_SLOTS=6U",
)
CHECKED = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
# What reads bytes from outside guides the fuzzer. Sums and hashes are checked, not traced: tracing
# them took most of the time, and an input that multiplies other numbers leads nowhere new.
PARSERS = (
    "had_cbor.c",
    "had_envelope.c",
    "had_packet.c",
    "had_decoder.c",
    "had_store.c",
    "had_journal.c",
    "had_archive.c",
    "had_import.c",
    "had_exemplar.c",
    "had_state.c",
    "had_wire.c",
    "had_wire_field.c",
    "had_node.c",
    "had_guard.c",
    "had_log.c",
)
BUILD_LIMIT_S = 600.0
SPEC = ModelSpec(
    "fuzz",
    (5, 4, 4),
    n_classes=2,
    exemplar_slots=6,
    staging_slots=6,
    exemplars=1,
    distillation=True,
    bias_correction=True,
    arithmetic={"order": 4, "batch": 3, "tile_k": 4},
)


@dataclass(frozen=True)
class Report:
    """Of a run. executions, edges: libFuzzer's counts; failed: it found something."""

    executions: int
    edges: int
    failed: bool
    log: str


def fuzz_model() -> IntModel:
    """A small model with all that is optional: distillation, correction, prototypes."""
    return make_model(SPEC)


def states(model: IntModel) -> tuple[bytes, bytes]:
    """The state of a new device, and one that differs in dense, sparse and raw rows."""
    twin = TwinLearner(model)
    base = twin.export_state()
    twin.working.weights[-1].master[0] += 7
    twin.working.weights[-1].master[1, 1] -= 900
    twin.working.weights[0].bias[2] += 70000
    twin.working.step = 5
    twin.working.prototypes.count[0] = 200  # of more, at first: the sums are expected to follow
    twin.working.prototypes.total[0] //= 2
    twin.commit()
    return base, twin.export_state()


def update(model: IntModel) -> bytes:
    """A packet for a new device."""
    exemplar = WireExemplar(1, 3, pack_x0(np.arange(model.x0_size, dtype=np.int8)))
    return make_packet(model, *states(model), 2, [exemplar])


def key_packet(model: IntModel) -> bytes:
    """A packet that brings a release key."""
    manifest = KeyManifest(1, VENDOR, class_id(VENDOR, model.model_id), bytes(range(32)))
    return build_key_packet(manifest, ROOT.sign, key_id(public(ROOT)))


def _split(packet: bytes) -> tuple[bytes, bytes, bytes]:
    """Envelope up to the manifest, manifest, and what follows it."""
    signed = read_packet(packet).signed
    digest = signed[-32:]
    for start in range(len(packet)):
        for length in (b"\x58", b"\x59"):
            head = 2 if length == b"\x58" else 3
            if packet[start : start + 1] == length:
                size = int.from_bytes(packet[start + 1 : start + head], "big")
                manifest = packet[start + head : start + head + size]
                if hashlib.sha256(manifest).digest() == digest:
                    return packet[: start - 1], manifest, packet[start + head + size :]
    raise ValueError("no manifest")


def seed_header(model: IntModel) -> str:
    """fuzz_seed.h."""
    auths = []
    for packet in (update(model), key_packet(model)):
        auth = bytearray(_split(packet)[0])
        at = packet.index(read_packet(packet).signature)
        auth[at] &= 0xFE  # the hook of the targets takes a signature by its first bit
        auths.append(bytes(auth))
    digest_at = update(model).index(read_packet(update(model)).signed[-32:])
    assert len(auths[0]) == len(auths[1])
    lines = [
        "#include <stdint.h>",
        f"#define SEED_AUTH_BYTES {len(auths[0])}U",
        f"#define SEED_DIGEST_AT {digest_at}U",
        f"static const uint8_t seed_identity[] = {{{_bytes(identity(model))}}};",
        f"static const uint8_t seed_sample[] = {{{_bytes(_sample(model))}}};",
        "static const uint8_t seed_auth[2][SEED_AUTH_BYTES] __attribute__((unused)) = {",
        *(f"    {{{_bytes(auth)}}}," for auth in auths),
        "};",
    ]
    return "\n".join(lines) + "\n"


def _bytes(data: bytes) -> str:
    return ", ".join(f"0x{b:02X}" for b in data)


def _sample(model: IntModel) -> bytes:
    return pack_x0(np.ones(model.x0_size, np.int8))


def seeds(target: str) -> list[bytes]:
    """Inputs that lead deep into a target."""
    model = fuzz_model()
    base, result = states(model)
    target = target.removesuffix(SUFFIX)
    if target == "packet":
        made = []
        for flags, packet in ((1, update(model)), (3, key_packet(model))):
            _, manifest, rest = _split(packet)
            made += [struct.pack("<BH", flags, len(manifest)) + manifest + rest, b"\0" + packet]
        return made
    if target == "payload":
        payload = read_packet(update(model)).payload
        # Every coding of the exemplar, 0 .. 4 and one too many; its bits then mean other values.
        return [b"\0" + payload[:10] + bytes([coding]) + payload[11:] for coding in range(6)]
    if target == "import":
        return [b"\0" + result, b"\1\2" + result[32:-32], b"\0" + base]
    if target == "wire":
        return _wire_seeds(model)
    return _store_seeds(model)


def _wire_seeds(model: IntModel) -> list[bytes]:
    sample = _sample(model)
    learn = (0x11, b"\0\0" + sample)
    rate = struct.pack("<IHh", 0, 20000, -16)
    begin = struct.pack("<IIBBBB", 1, 2, 1, 1, 128, 1) + rate
    guard = (0x26, b"\0\0" + sample)
    update_packet = update(model)
    pieces = [(0x24, update_packet[at : at + 200]) for at in range(0, len(update_packet), 200)]
    sessions: list[list[tuple[int, bytes]]] = [
        [(0x04, b""), learn, (0x05, begin), (0x06, b"\0\x20\0\0"), (0x21, b""), (0x07, b"\1\3")],
        [(0x22, identity(model)), (0x23, struct.pack("<I", len(update_packet))), *pieces]
        + [(0x25, b""), (0x20, b""), (0x28, b"")],
        [guard, (0x27, b"\1\0\2\0\3\0"), learn, (0x08, b""), (0x01, b""), (0x0F, b"\0\0")],
        [(0x02, b"\0\0" + bytes(2 * model.inputs)), (0x03, b"\1\0" + bytes(2 * model.inputs))]
        + [(0x29, struct.pack("<IHH", 0, 92, 0)), (0x2A, b"")]
        + [(0x0A, struct.pack("<IHBB", 0, 64, 1, 0)), (0x10, b"\1"), (0x0E, b"\0\0\1\0" + sample)],
    ]
    return [
        b"\0" + b"".join(struct.pack("<BB", c, len(p)) + p for c, p in session)
        for session in sessions
    ]


def _store_seeds(model: IntModel) -> list[bytes]:
    """A body as SPEC.md 12.2 has it, without and with working copy and session, and records."""
    base, result = states(model)
    trust = struct.pack("<II", 3, 1) + identity(model)
    sample = _sample(model)
    samples = struct.pack("<I", 1) + struct.pack("<BBH", 1, 0, 0) + sample
    guard = struct.pack("<IIII", 500, 500, 65535, 1) + b"\1" + sample
    guard += struct.pack("<III", 1, 4, 2) + bytes(32) + b"\4\0\4\0"  # and the learning log
    plain = trust + model.model_id + struct.pack("<III", 0, 2, 2) + base[32:-32] + samples + guard
    session = struct.pack("<7I", 1, 2, 1, 1, 100, 1, 0) + struct.pack("<Iii", 0, 20000, -16)
    session += bytes(36) + struct.pack("<4I", 1, 3, 2, 99)
    full = trust + model.model_id + struct.pack("<III", 7, 2, 3) + base[32:-32] + result[32:-32]
    full += session + samples + guard
    records = b"\x11" + bytes([2 + len(sample)]) + b"\0\0" + sample + b"\x04\0"
    records += b"\x26" + bytes([2 + len(sample)]) + b"\0\0" + sample
    records += b"\x0e" + bytes([4 + len(sample)]) + b"\1\0\5\0" + sample
    return [struct.pack("<BH", 1, len(b)) + b + r for b in (plain, full) for r in (b"", records)]


def write_sources(folder: Path) -> Path:
    """The runtime of the model, the targets and their seeds."""
    model = fuzz_model()
    files = {**generate(model, BOARDS["host"]), **runtime_files()}
    files = {n: c for n, c in files.items() if n not in LEFT_OUT}
    files["targets.c"] = SOURCE.read_bytes()
    files["fuzz_seed.h"] = seed_header(model).encode()
    return write_folder(files, folder)


def build_target(sources: Path, target: str, out: Path, extra: tuple[str, ...] = ()) -> Path:
    """The fuzzer of a target; the runtime is compiled once for all targets of a folder.

    Raises: ToolchainMissingError without clang and its libFuzzer.
    """
    objects = sources / "objects"
    if target.endswith(SUFFIX):
        objects, extra = sources / f"objects{SUFFIX}", (*extra, *IN_FLASH)
    objects.mkdir(exist_ok=True)
    for path in sorted(sources.rglob("*.c")):
        made_of = objects / f"{path.stem}.o"
        if path.name != "targets.c" and not made_of.exists():
            traced = ("-fsanitize=fuzzer-no-link",) if path.name in PARSERS else ()
            _clang(
                sources, "-c", str(path.relative_to(sources)), *traced, *extra, "-o", str(made_of)
            )
    made = sorted(str(p) for p in objects.glob("*.o"))
    linked = ("-fsanitize=fuzzer", f"-DTARGET={TARGETS[target]}", "targets.c", *made)
    _clang(sources, *linked, *extra, "-o", str(out))
    return out


def _clang(sources: Path, *arguments: str) -> None:
    clang = shutil.which("clang")
    if clang is None:
        raise ToolchainMissingError("clang is missing; get it with `apt install clang`")
    command = [clang, "-std=c11", "-O1", "-g", *CHECKED, *(f"-D{d}" for d in DEFINES)]
    command += ["-I.", "-Iruntime/include", "-Iruntime/src"]
    done = subprocess.run(
        [*command, *arguments],
        cwd=sources,
        capture_output=True,
        text=True,
        timeout=BUILD_LIMIT_S,
        check=False,
    )
    if done.returncode != 0 and "clang_rt" in done.stderr:
        raise ToolchainMissingError(
            "clang has no libFuzzer; get it with `apt install libclang-rt-14-dev`"
        )
    assert done.returncode == 0, done.stderr


def write_seeds(target: str, folder: Path) -> Path:
    """The corpus to begin with: seeds, and what was found before."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds(target)):
        (folder / f"seed-{number}").write_bytes(seed)
    for path in sorted((REGRESSIONS / target.removesuffix(SUFFIX)).glob("*")):
        shutil.copyfile(path, folder / path.name)
    return folder


def run_target(fuzzer: Path, corpus: Path, *options: str, limit_s: float = 3600.0) -> Report:
    """Run a fuzzer in its own folder; what it finds stays there."""
    # The device's code allocates nothing: what could leak is the fuzzer's own.
    command = [str(fuzzer), str(corpus), "-print_final_stats=1", "-max_len=1000"]
    command += ["-detect_leaks=0", *options]
    done = subprocess.run(
        command,
        cwd=fuzzer.parent,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=limit_s,
        check=False,
    )
    log = done.stderr
    executions = re.findall(r"number_of_executed_units: (\d+)", log) or re.findall(r"#(\d+)", log)
    edges = re.findall(r"cov: (\d+)", log)
    return Report(
        int(executions[-1]) if executions else 0,
        int(edges[-1]) if edges else 0,
        done.returncode != 0,
        log,
    )
