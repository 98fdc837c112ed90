# SPDX-License-Identifier: Apache-2.0
"""Host builds of generated firmware, made once a session for each model and set of options."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from codegen.generate import generate, write_folder
from device.harness.boards import BOARDS
from device.harness.build import build
from device.harness.client import DeviceClient
from device.harness.devices import open_device
from device.harness.toolchain import Kind, find_toolchain
from device.twin.learner import TwinLearner
from device.twin.model import IntModel
from server.learning.firmwares import backend_for
from tests.parity.sessions import Pair

OpenDevice = Callable[..., DeviceClient]
OpenPair = Callable[..., Pair]
OpenBoard = Callable[[IntModel, str], DeviceClient]
COUNTERS = "HAD_COUNTERS"


@pytest.fixture(scope="session")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sources and builds of this session."""
    return tmp_path_factory.mktemp("parity")


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """Ends devices with the test."""
    with ExitStack() as opened:
        yield opened


@pytest.fixture
def open_host(work: Path) -> Iterator[OpenDevice]:
    """Starts host devices; they end with the test."""
    with ExitStack() as stack:

        def start(
            model: IntModel,
            *,
            layout: str = "host",
            opt: str = "-O0",
            kind: Kind | None = None,
            defines: tuple[str, ...] = (),
            sanitize: bool = False,
            march: str = "",
            change: Callable[[dict[str, bytes]], dict[str, bytes]] = dict,
        ) -> DeviceClient:
            """A fresh device running the model.

            Args:
                layout: board whose plan is compiled for the host.
                opt: compiling takes longer than running; other levels where they are the point.
                change: edits the generated files.
            """
            host = BOARDS["host"]
            files = generate(model, BOARDS[layout])
            files = {name: c for name, c in files.items() if not name.startswith("port/")}
            ports = {n: c for n, c in generate(model, host).items() if n.startswith("port/")}
            files = change({**files, **ports})
            key = f"{model.name}-{layout}-{abs(hash(tuple(sorted(files.items()))))}"
            folder = work / key
            if not folder.exists():
                write_folder(files, folder)
            firmware = build(
                folder,
                host,
                find_toolchain(host, kind),
                work / "builds",
                opt=opt,
                defines=defines,
                sanitize=sanitize,
                march=march,
            )
            return DeviceClient(stack.enter_context(open_device(firmware, host, "host")))

        yield start


@pytest.fixture
def open_pair(open_host: OpenDevice) -> OpenPair:
    """Starts a device and a twin of the same model."""

    def start(model: IntModel, **options: object) -> Pair:
        counting = COUNTERS in options.get("defines", ())  # type: ignore[operator]
        return Pair(model, TwinLearner(model, counters=counting), open_host(model, **options))

    return start


@pytest.fixture
def open_board(work: Path, stack: ExitStack) -> OpenBoard:
    """Starts firmware on an emulated board; it ends with the test."""

    def start(model: IntModel, board: str) -> DeviceClient:
        target = BOARDS[board]
        folder = work / f"{model.name}-{board}-{abs(hash(model.to_bytes()))}"
        if not folder.exists():
            write_folder(generate(model, target), folder)
        firmware = build(folder, target, find_toolchain(target), work / "builds")
        return DeviceClient(stack.enter_context(open_device(firmware, target, backend_for(target))))

    return start
