# SPDX-License-Identifier: Apache-2.0
"""The planner: a part's memory in, what to train and keep out.

Nothing is estimated that can be had exactly: a candidate is generated, compiled and linked for the
part's core and memory, and its instructions are counted in the emulator. Only candidates whose
buffers, with what a failed link has needed beside them, exceed the RAM are passed over unbuilt.
"""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codegen.emit.header import wire_bytes
from codegen.field import BLOCK_BYTES, Field, flash_blocks
from codegen.generate import plan_of
from codegen.graph import FloatGraph
from codegen.layouts import FIELD, PLAIN
from codegen.lower import Plan
from codegen.quantize import QuantizeOptions, trained_counts
from codegen.quantize.signal import check_choice
from device.harness.boards import Board
from device.harness.build import build
from device.harness.errors import FirmwareTooLargeError
from device.harness.firmware import Firmware
from device.harness.stack import learner_stack
from device.harness.toolchain import find_toolchain
from device.twin.exemplars import MAX_QUOTA
from device.twin.mfcc import Mfcc
from device.twin.model import Arithmetic, Exemplar, IntModel
from device.twin.scale import Scale
from server.errors import Issue, ModelDoesNotFitError, ToolMissingError
from server.learning.firmwares import (
    emulated_device,
    field_sources,
    service_errors,
    signal_ram,
    write_once,
    write_sources,
)
from server.learning.parts import LARGEST, PARTS, Part
from server.learning.ports import Calibration
from server.learning.quantizing import make_model

BATCHES = (32, 16, 8, 4)
MASTER_BITS = (16, 8)
STEPS_A_CLASS = 150
# The least that is worth while, by which parts are compared.
EXEMPLARS_A_CLASS = 4
SMALL_BATCH = 8
# Choices that the linker may refuse before the search gives up: each costs seconds.
MAX_FAILED_LINKS = 3
SLACK_BYTES = 256  # by which stack, session and padding may be less than a larger choice's
_FLASH_PARTS = (
    ("front", "front"),
    ("frozen", "frozen layers"),
    ("had_initial_master", "weights that learn"),
    ("had_exemplar", "first exemplars"),
    ("had_initial_prototype", "first prototypes"),
)


@dataclass(frozen=True)
class Wanted:
    """What the user asks for; None leaves a choice to the planner.

    Attributes:
        classes: class slots. exemplars: samples kept, at least one a class.
        staging: samples a session can take in.
        features: of a raw signal, taken by the device (SPEC.md 15).
    """

    classes: int
    exemplars: int
    staging: int = 16
    train_last: int | None = None
    batch: int | None = None
    master_bits: int | None = None
    features: str | None = None


@dataclass(frozen=True)
class Choice:
    """One way to meet a wish: layers trained, counted from the head, batch, bits, exemplars.

    Attributes:
        field: generated with the layout field: the committed masters are then in flash alone.
    """

    train_last: int
    batch: int
    master_bits: int
    exemplars: int
    field: bool = False


@dataclass(frozen=True)
class Planned:
    """A choice that links, with what it costs.

    Attributes:
        model: what was linked; figures hold for every model of its shapes and inference.
        instructions: of one inference, one training step, and of learning a class in
            STEPS_A_CLASS steps; empty without an emulator, and for the layout field.
    """

    part: Part
    choice: Choice
    model: IntModel
    plan: Plan
    firmware: Firmware
    stack_bytes: int
    instructions: dict[str, int]

    @property
    def store_bytes(self) -> int:
        """Flash beside the firmware's own, for what a field device keeps."""
        if not self.choice.field:
            return 0
        return BLOCK_BYTES * flash_blocks(self.model, self.plan, Field())

    def report(self) -> dict[str, Any]:
        """Figures as JSON."""
        c = self.choice
        clock = self.part.clock_hz
        return {
            "part": self.part.name,
            "train_last": c.train_last,
            "batch": c.batch,
            "master_bits": c.master_bits,
            "layout": FIELD if c.field else PLAIN,
            "exemplars": c.exemplars,
            "exemplar_bytes": -(-self.model.x0_size // 2),
            "max_classes": self.model.max_classes,
            "ram_bytes": self.firmware.ram_bytes,
            "ram_available_bytes": self.part.ram_bytes,
            "flash_bytes": self.firmware.flash_bytes,
            "store_bytes": self.store_bytes,
            "flash_available_bytes": self.part.flash_bytes,
            "flash_parts": flash_parts(self.firmware, self.part.board()),
            "stack_bytes": self.stack_bytes,
            "training_arena": arena_report(self.plan.arena),
            "inference_arena": arena_report(self.plan.infer_arena),
            "instructions": self.instructions,
            "seconds_at_one_instruction_a_cycle": {
                name: round(count / clock, 6) for name, count in self.instructions.items() if clock
            },
            "compiler": self.firmware.toolchain,
        }


@dataclass(frozen=True)
class Answer:
    """The plan asked for, or why there is none and the nearest that fits, None if none does."""

    planned: Planned | None
    refused: str
    nearest: Planned | None


def plan(
    graph: FloatGraph,
    part: Part,
    wanted: Wanted,
    cache: Path,
    samples: NDArray[np.float32] | None = None,
    labels: NDArray[np.int64] | None = None,
    count: bool = True,
) -> Answer:
    """The first choice that fits: most layers trained, then widest masters, then largest batch.

    Where none does for want of RAM: as a field device, which holds the masters once.

    Args:
        samples, labels: calibration; random samples stand in for both, which fit the same shapes.
        count: run the result in the emulator.
    Raises: QuantizeError, ToolMissingError.
    """
    x = stand_in(graph, wanted.features) if samples is None else samples
    search = _Search(graph, part, wanted, cache, Calibration(x, labels))
    found = search.first(wanted.exemplars)
    if found is not None:
        return Answer(_counted(found, cache) if count else found, "", None)
    refused = search.shortfall
    for relaxed in _relaxed(wanted):
        search.wanted, search.failed_links = relaxed, 0
        nearest = search.first(relaxed.exemplars)
        if nearest is not None:
            return Answer(None, refused, _counted(nearest, cache) if count else nearest)
    return Answer(None, refused, None)


def needs_by_core(
    graph: FloatGraph, cache: Path, features: str | None = None
) -> dict[str, Planned]:
    """What the least worth-while choice needs, linked once for each emulated board of PARTS.

    Raises: ModelDoesNotFitError if it exceeds even the largest memory, QuantizeError.
    """
    classes = QuantizeOptions().classes_for(graph.n_classes)
    exemplars = EXEMPLARS_A_CLASS * classes
    wanted = Wanted(classes, exemplars, 16, 1, SMALL_BATCH, 8, features)
    found: dict[str, Planned] = {}
    for part in PARTS.values():
        if part.base in found:
            continue
        large = replace(part, flash_bytes=LARGEST, ram_bytes=LARGEST)
        answer = plan(graph, large, wanted, cache, count=False)
        if answer.planned is None:
            raise ModelDoesNotFitError(
                f"No part holds this model: {answer.refused}.",
                [Issue(answer.refused, "the largest part", "a smaller model")],
            )
        found[part.base] = answer.planned
    return found


def stand_in(graph: FloatGraph, features: str | None = None) -> NDArray[np.float32]:
    """Random samples, or signals of an amplitude below 1: they fit the same shapes."""
    rng = np.random.default_rng(0)
    if features is None:
        return rng.standard_normal((8, graph.features)).astype(np.float32)
    choice = check_choice(graph, features)
    top = np.ldexp(0.9, 15 - int(choice.frac_bits[0])) if isinstance(choice, Mfcc) else 0.9
    return rng.uniform(-top, top, (8, choice.inputs)).astype(np.float32)


def _relaxed(wanted: Wanted) -> Iterator[Wanted]:
    """Wishes that ask for less: free batch and bits, fewer layers, ever fewer exemplars."""
    free = replace(wanted, batch=None, master_bits=None)
    yield free
    free = replace(free, train_last=None)
    yield free
    exemplars = wanted.exemplars
    while exemplars > wanted.classes:
        exemplars = max(wanted.classes, exemplars // 2)
        yield replace(free, exemplars=exemplars)
    yield replace(free, exemplars=exemplars, staging=1)


@dataclass
class _Search:
    """Candidates tried against one part; `shortfall` says how the smallest of them failed."""

    graph: FloatGraph
    part: Part
    wanted: Wanted
    cache: Path
    given: Calibration
    shortfall: str = ""
    failed_links: int = 0
    beside: dict[bool, int] = dataclasses.field(default_factory=lambda: {False: 0, True: 0})

    def first(self, exemplars: int) -> Planned | None:
        """The first choice that fits, else the first that fits as a field device."""
        found = self._first(exemplars, False)
        if found is not None or "RAM" not in self.shortfall:
            return found
        shortfall, links = self.shortfall, self.failed_links
        self.failed_links = 0
        found = self._first(exemplars, True)
        self.shortfall, self.failed_links = shortfall, links
        return found

    def _first(self, exemplars: int, field: bool) -> Planned | None:
        for choice in self._choices(exemplars, field):
            if self.failed_links >= MAX_FAILED_LINKS:
                return None
            model = self._model(choice)
            layout = plan_of(model, self.part.board())
            least = least_ram(model, layout, field) + self.beside[field]
            if least > self.part.ram_bytes:
                over = least - self.part.ram_bytes
                self.shortfall = f"at least {over} bytes of RAM are missing{signal_ram(model)}"
                continue
            built = self._built(model, field)
            if built is None:
                continue
            stack = learner_stack(built).worst_bytes
            planned = Planned(self.part, choice, model, layout, built, stack, {})
            if built.flash_bytes + planned.store_bytes <= self.part.flash_bytes:
                return planned
        return None

    def _choices(self, exemplars: int, field: bool) -> Iterator[Choice]:
        dense = len(self.graph.dense_layers)
        layers = max((n for n in trained_counts(self.graph) if n <= dense), default=1)
        w = self.wanted
        for last in range(layers, 0, -1) if w.train_last is None else (w.train_last,):
            for bits in MASTER_BITS if w.master_bits is None else (w.master_bits,):
                for batch in BATCHES if w.batch is None else (w.batch,):
                    yield Choice(last, batch, bits, exemplars, field)

    def _model(self, choice: Choice) -> IntModel:
        options = QuantizeOptions(
            Arithmetic(batch=choice.batch, master_bits=choice.master_bits),
            train_last=choice.train_last,
            max_classes=self.wanted.classes,
            exemplar_slots=choice.exemplars,
            staging_slots=self.wanted.staging,
            features=self.wanted.features,
        )
        model = make_model(self.graph, self.given, options)
        return model if self.given.y is not None else _with_exemplars(model)

    def _sources(self, model: IntModel, board: Board, field: bool) -> Path | None:
        """None for a field device whose signature check cannot be fetched here."""
        if not field:
            return write_sources(model, board, self.cache)
        try:
            with service_errors():
                return write_once(field_sources(model, board, self.cache), self.cache)
        except ToolMissingError:
            return None

    def _built(self, model: IntModel, field: bool) -> Firmware | None:
        board = self.part.board()
        with service_errors():
            sources, toolchain = self._sources(model, board, field), find_toolchain(board)
            if sources is None:
                return None
            try:
                return build(sources, board, toolchain, self.cache / "builds")
            except FirmwareTooLargeError as error:
                memory = "RAM" if error.memory == "ram" else error.memory
                more = signal_ram(model) if error.memory == "ram" else ""
                self.shortfall = f"{error.overflow_bytes} bytes of {memory} are missing{more}"
                self.failed_links += 1
                if error.memory == "ram":
                    least = least_ram(model, plan_of(model, board), field) + SLACK_BYTES
                    self.beside[field] = self.part.ram_bytes + error.overflow_bytes - least
                return None


def _with_exemplars(model: IntModel) -> IntModel:
    """The model as labelled samples would leave it: its memory full from the start."""
    quota = min(model.exemplar_slots // model.n_classes, MAX_QUOTA)
    zero = np.zeros(model.x0_size, np.int8)
    stored = [Exemplar(c, k, zero) for c in range(model.n_classes) for k in range(quota)]
    return replace(model, exemplars=tuple(stored))


def least_ram(model: IntModel, layout: Plan, field: bool = False) -> int:
    """Bytes that a learner needs at the least: its buffers, without stack, session and padding."""
    biases, classes = layout.bias_count, model.max_classes
    prototypes = 2 * classes * (1 + model.features) if model.keep_prototypes else 0
    masters = layout.master_count * model.arithmetic.master_bits // 8
    copy = masters + 4 * biases + prototypes
    view = layout.view_bytes + 3 * biases
    slots = model.exemplar_slots + model.staging_slots
    samples = slots * (6 + -(-model.x0_size // 2))
    wire, _ = wire_bytes(model, host=False)
    twice = 2 * copy - (masters if field else 0)
    return twice + view + samples + layout.arena.bytes + layout.infer_arena.bytes + wire


def flash_parts(firmware: Firmware, board: Board) -> dict[str, int]:
    """Bytes of flash by what they are; the rest is start-up, padding and initialised data."""
    found = {title: 0 for _, title in _FLASH_PARTS} | {"code": 0, "other tables": 0}
    for symbol in firmware.symbols:
        if symbol.is_function:
            found["code"] += symbol.size_bytes
            continue
        title = next((t for start, t in _FLASH_PARTS if symbol.name.startswith(start)), None)
        if not board.ram_origin <= symbol.address < board.ram_origin + board.ram_bytes:
            found[title or "other tables"] += symbol.size_bytes
    found["rest"] = firmware.flash_bytes - sum(found.values())
    return found


def arena_report(arena: Any) -> dict[str, Any]:
    """Bytes, lower bound, and where each buffer lies."""
    rows = [
        {"offset": p.offset, "bytes": p.buffer.bytes, "holds": p.buffer.owner}
        for p in arena.placements
    ]
    return {"bytes": arena.bytes, "lower_bound_bytes": arena.lower_bound, "buffers": rows}


def _counted(planned: Planned, cache: Path) -> Planned:
    """With the instructions of an inference and a training step, counted in the emulator."""
    if planned.choice.field:
        return planned
    board = planned.part.board()
    raw = np.random.default_rng(1).integers(-500, 500, planned.model.inputs).astype(np.int16)
    counts: dict[str, int] = {}
    with emulated_device(planned.firmware, board) as (client, transport):
        client.infer(raw)
        inference = transport.instructions()
        client.train_begin(1, 2, [(0, Scale.from_real(0.05))], "balanced")
        client.train(client.info().units_per_step)
        step = transport.instructions()
    if inference is not None and step is not None:
        counts = {"inference": inference, "training_step": step}
        counts["new_class"] = STEPS_A_CLASS * step
    return replace(planned, instructions=counts)
