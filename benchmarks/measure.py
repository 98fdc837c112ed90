# SPDX-License-Identifier: Apache-2.0
"""Exact costs of one firmware: executed instructions by call, operation and function, and bytes."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmarks.executions import Execution
from benchmarks.models import Subject
from benchmarks.records import Record
from benchmarks.work import (
    PER_ELEMENT,
    PER_MAC,
    Work,
    inference_macs,
    kernel_work,
    operation_work,
    step_macs,
    training_ram,
)
from codegen.generate import plan_of
from codegen.lower import lower
from device.harness.boards import BOARDS, Board
from device.harness.client import DeviceClient
from device.harness.devices import QemuTransport, open_device
from device.harness.elf import Symbol
from device.harness.firmware import Firmware
from device.harness.stack import learner_stack
from device.harness.transport import Transport
from device.twin.scale import Scale
from device.twin.work import units_per_step

SEED = 5
RATE = 0.05
WARM_STEPS = 1  # the first step of a fresh model is not typical: trained weights change less
STEPS = 3
INFERENCES = 8
LEARNED = 12  # samples staged before training, as a session has some

# Functions that are no part of learning and inference: start, transport, export, digest of a state
# and what these alone call.
_OUTSIDE = (
    *("main", "Reset_Handler", "had_port", "had_fault", "had_trap", "put_hex"),
    *("had_wire", "handle_", "had_import", "had_export", "export_", "had_state", "hash_"),
    *("had_field_of", "had_values_are_valid"),
    *("had_sha256", "compress"),
)


@dataclass
class Measured:
    """Figures of a firmware, and where a step and an inference spend their instructions.

    Attributes:
        records: the figures.
        step_profile, inference_profile: instructions by function, most first.
    """

    records: list[Record] = field(default_factory=list)
    step_profile: dict[str, int] = field(default_factory=dict)
    inference_profile: dict[str, int] = field(default_factory=dict)


def m0_on_large_board() -> Board:
    """The M3 board running code of the M0: the same instructions as on a M0 with that much RAM."""
    small = BOARDS["microbit"]
    return replace(
        BOARDS["mps2-an385"],
        title="Arm MPS2 with Cortex-M3 (AN385), code of the M0",
        cpu=small.cpu,
        core=small.core,
        flags_gcc=small.flags_gcc,
        flags_zig=small.flags_zig,
    )


def measure(item: Subject, execution: Execution, cache: Path, *, detailed: bool) -> Measured:
    """Build and measure.

    Args:
        detailed: operations and functions of a step as well; functions in QEMU only.
    Raises: HarnessError.
    """
    firmware = execution.build(item, cache)
    out = Measured()
    sheet = _Sheet(item, execution, firmware, out)
    sheet.bytes()
    with open_device(firmware, execution.board, execution.backend) as transport:
        sheet.inference(transport)
        sheet.steps(transport)
        if detailed:
            sheet.operations(transport)
    if detailed and execution.backend == "qemu":
        with open_device(firmware, execution.board, execution.backend, profile=True) as transport:
            sheet.functions(transport)
    return out


def step_instructions(item: Subject, execution: Execution, firmware: Firmware) -> list[int]:
    """Instructions of the first measured steps, and of an inference last."""
    with open_device(firmware, execution.board, execution.backend) as transport:
        client = DeviceClient(transport)
        counts = list(whole_steps(client, item, transport, WARM_STEPS + 1))
        client.infer(item.raw[0])
        return [*counts, _count(transport)]


@dataclass
class _Sheet:
    """Collects the figures of one firmware."""

    item: Subject
    execution: Execution
    firmware: Firmware
    out: Measured

    def add(self, figure: str, value: float, unit: str) -> None:
        self.out.records.append(
            Record(
                board=self.execution.board.name,
                core=self.execution.board.core,
                model=self.item.name,
                figure=figure,
                value=round(value, 4),
                unit=unit,
                compiler=self.firmware.toolchain,
                kind=self.execution.kind,
                opt=self.execution.opt,
            )
        )

    def per(self, figure: str, instructions: float, work: Work) -> None:
        """A cost per useful product or element."""
        self.add(figure, instructions / work.count, work.unit)

    def bytes(self) -> None:
        stack = learner_stack(self.firmware).worst_bytes
        self.add("flash_bytes", self.firmware.flash_bytes, "bytes")
        self.add("code_bytes", code_bytes(self.firmware.symbols), "bytes")
        self.add("ram_bytes", self.firmware.ram_bytes, "bytes")
        self.add(
            "training_ram_bytes",
            training_ram(self.item.model, self.execution.board) + stack,
            "bytes",
        )
        self.add("stack_bytes", stack, "bytes")

    def inference(self, transport: Transport) -> None:
        client = DeviceClient(transport)
        counts = []
        for sample in self.item.raw[:INFERENCES]:
            client.infer(sample)
            counts.append(_count(transport))
        mean = sum(counts) / len(counts)
        self.add("inference", round(mean), "instructions")
        self.per("inference_per_mac", mean, Work(inference_macs(self.item.model), PER_MAC))

    def steps(self, transport: Transport) -> None:
        client = DeviceClient(transport)
        counts = list(whole_steps(client, self.item, transport, WARM_STEPS + STEPS))[WARM_STEPS:]
        mean = sum(counts) / len(counts)
        self.add("train_step", round(mean), "instructions")
        self.per("train_step_per_mac", mean, Work(step_macs(self.item.model), PER_MAC))

    def operations(self, transport: Transport) -> None:
        """One step cut at its operations, less what an empty call costs."""
        client = DeviceClient(transport)
        client.train(0)
        empty = _count(transport)
        for operation in lower(self.item.model).operations:
            client.train(operation.rows * operation.units)
            work = operation_work(self.item.model, operation)
            self.per(operation.label.lower(), _count(transport) - empty, work)
        self.slices(client, transport)

    def slices(self, client: DeviceClient, transport: Transport) -> None:
        """A step cut at every row: its dearest slice, and an inference that has to wait for it."""
        worst = 0
        before = client.train(0).steps_left
        while client.train(1).steps_left == before:
            worst = max(worst, _count(transport))
        client.infer(self.item.raw[0])
        self.add("worst_slice", worst, "instructions")
        self.add("inference_while_training", worst + _count(transport), "instructions")

    def functions(self, transport: Transport) -> None:
        """Profiles, and from them the cost of single kernels."""
        assert isinstance(transport, QemuTransport)
        model, client = self.item.model, DeviceClient(transport)
        list(whole_steps(client, self.item, transport, WARM_STEPS + 1))
        self.out.step_profile = transport.profile()
        client.infer(self.item.raw[0])
        self.out.inference_profile = transport.profile()
        for name, work in kernel_work(model, plan_of(model, self.execution.board)).items():
            self.kernel(name, self.out.step_profile, work)
        work = Work(inference_macs(model), PER_MAC)
        self.kernel("had_dot_packed", self.out.inference_profile, work)

    def kernel(self, name: str, profile: dict[str, int], work: Work) -> None:
        """Cost of the function of this name and its clones; nothing if it was inlined."""
        spent = sum(n for function, n in profile.items() if function.split(".")[0] == name)
        if spent and work.count:
            suffix = f"_{self.item.model.arithmetic.order}" if work.unit == PER_ELEMENT else ""
            self.per(name.replace("had_", "kernel_") + suffix, spent, work)


def code_bytes(symbols: tuple[Symbol, ...]) -> int:
    """Bytes of the functions that learn and infer, compilers' helpers included."""
    functions = [s for s in symbols if s.is_function and not s.name.startswith(_OUTSIDE)]
    return sum({s.address: s.size_bytes for s in functions}.values())


def whole_steps(
    client: DeviceClient, item: Subject, transport: Transport, steps: int
) -> Iterator[int]:
    """Instructions of each of the first steps of a fresh session; the session stays open."""
    known = item.labels < item.model.n_classes
    samples = list(zip(item.raw[known], item.labels[known].tolist(), strict=True))
    for sample, label in samples[:LEARNED]:
        client.learn(sample, label)
    client.train_begin(SEED, 1000, [(0, Scale.from_real(RATE))])
    units = units_per_step(item.model)
    for _ in range(steps):
        client.train(units)
        yield _count(transport)


def _count(transport: Transport) -> int:
    count = transport.instructions()
    if count is None:
        raise RuntimeError("the emulator counted nothing")
    return count
