# SPDX-License-Identifier: Apache-2.0
"""Commands of an emulated field device: run, apply, learn, replay."""

import json
import time
from pathlib import Path
from typing import Annotated

import httpx2
import typer

from server.commands.arrays import read_samples, to_slots
from server.commands.console import (
    FAILED,
    AsJson,
    command,
    percent,
    print_facts,
    print_json,
    read_input,
    say,
    write_output,
    wrong,
)
from server.commands.engine import engine
from server.commands.model_file import ModelFile, load_model_file
from server.commands.models import ModelPath
from server.errors import WRONG_JSON, InvalidInputError, Issue, UnavailableError
from server.fleet.device_memory import Memory
from server.fleet.field_device import FieldDevice, measure
from server.fleet.gateway import DdiClient, Gateway
from server.fleet.trust import check_trust, read_trust
from server.learning.chunks import DEFAULT_LEARNING_RATE
from server.learning.engine import HadaptEngine
from server.learning.firmwares import cache_folder
from server.learning.learner_data import LearnerData
from server.learning.ports import Json
from server.learning.sessions import TrainPlan

app = typer.Typer(no_args_is_help=True, help="An emulated field device and its gateway.")
Board = Annotated[str, typer.Option("--board", "-b", help="host: the host build; or a board.")]
State = Annotated[Path, typer.Option("--state", help="Folder that survives restarts.")]
Trust = Annotated[Path, typer.Option("--trust", help="trust.json: whose packets it takes.")]
Data = Annotated[Path, typer.Option("--data", help="npz with the device's own samples.")]


def _device(model: ModelFile, state: Path | None, board: str, trust: Path | None) -> FieldDevice:
    keys: list[bytes] = []
    if trust is not None:
        known = check_trust(read_trust(read_input(trust, "a trust file")), time.time())
        keys = list(known.release.values())
    memory = Memory.load(state) if state is not None else None
    memory = memory or Memory(LearnerData.from_bytes(model.learner))
    used = engine()
    cache = used.cache if isinstance(used, HadaptEngine) else cache_folder()
    return FieldDevice(model.int_model, memory, board, keys, cache)


@app.command()
def run(
    model: ModelPath,
    url: Annotated[str, typer.Option("--url", help="Of the service.")],
    name: Annotated[str, typer.Option("--name", help="Controller id: the device's name.")],
    trust: Trust,
    state: State,
    data: Data,
    token: Annotated[
        str | None, typer.Option(envvar="HADAPT_TARGET_TOKEN", help="The device's own token.")
    ] = None,
    gateway_token: Annotated[
        str | None, typer.Option(envvar="HADAPT_GATEWAY_TOKEN", help="A gateway's token.")
    ] = None,
    tenant: Annotated[str, typer.Option(help="hawkBit tenant.")] = "DEFAULT",
    board: Board = "host",
    polls: Annotated[int, typer.Option(min=0, help="Stop after so many polls; 0: never.")] = 0,
    interval: Annotated[float, typer.Option(min=0.0, help="Seconds between polls.")] = 10.0,
    as_json: AsJson = False,
) -> None:
    """Run a device: poll the service, take packets, report hash and figures, never a sample.

    \b
    Examples:
      hadapt device run digits.hadapt --url http://127.0.0.1:8600 --name unit-1 --token <t>
        --trust trust.json --state unit-1/ --data test.npz --board mps2-an386 --polls 5
    """
    with command(as_json):
        header = _header(token, gateway_token)
        loaded = load_model_file(model)
        device = _device(loaded, state, board, trust)
        samples = read_samples(data, loaded.feature_count, "test")
        slots, _ = to_slots(samples, loaded.class_names)
        with httpx2.Client(base_url=url) as http:
            client = DdiClient(http, tenant, name, header)
            gateway = Gateway(
                client, device, samples.x, slots, keep=lambda: device.memory.save(state)
            )
            done = _turns(gateway, state, polls, interval)
        figures = gateway.figures
        facts: Json = {
            "name": name,
            "board": board,
            "state_hash": device.state_hash,
            "sequence": device.memory.sequence,
            "accuracy": figures.accuracy if figures else None,
            "turns": done,
        }
        print_json(facts) if as_json else print_facts("device", facts)
        if "failed" in done or set(done) == {"unreachable"}:
            raise typer.Exit(FAILED)


def _header(token: str | None, gateway_token: str | None) -> str:
    if (token is None) == (gateway_token is None):
        raise wrong("none or both", "--token, --gateway-token", "one of them")
    return f"TargetToken {token}" if token else f"GatewayToken {gateway_token}"


def _turns(gateway: Gateway, state: Path, polls: int, interval: float) -> list[str]:
    done: list[str] = []
    while not polls or len(done) < polls:
        if done:
            time.sleep(interval)
        try:
            if gateway.figures is None:
                gateway.report()
            done.append(gateway.turn())
        except UnavailableError as error:
            # The service may be away for a while; a device goes on asking.
            say(f"unreachable: {error.detail}")
            done.append("unreachable")
        # Health checks of containers look at its time.
        state.mkdir(parents=True, exist_ok=True)
        (state / "alive").touch()
        say(f"{done[-1]}: state {gateway.device.state_hash}")
    return done


@app.command("apply")
def apply_packet(
    model: ModelPath,
    packet: Annotated[
        Path, typer.Option("--packet", help="A signed packet, or a signed firmware image.")
    ],
    trust: Trust,
    state: State,
    board: Board = "host",
    as_json: AsJson = False,
) -> None:
    """Hand a packet or firmware to the device, as swupdate's script does. Exit code 1 if refused.

    \b
    Examples:
      hadapt device apply digits.hadapt --packet p1.suit --trust trust.json --state unit-1/
    """
    with command(as_json):
        device = _device(load_model_file(model), state, board, trust)
        digests = device.take(read_input(packet, "a packet"))
        device.memory.save(state)
        facts: Json = {**digests, "sequence": device.memory.sequence}
        print_json(facts) if as_json else print_facts("device", facts)


@app.command()
def learn(
    model: ModelPath,
    data: Data,
    log: Annotated[Path, typer.Option("--log", help="Where the learning log is written.")],
    state: State,
    steps: Annotated[int, typer.Option(min=1, help="Training steps.")] = 100,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1)] = 1,
    learning_rate: Annotated[float, typer.Option(min=0.0)] = DEFAULT_LEARNING_RATE,
    rows: Annotated[int, typer.Option(min=1, help="Samples to learn at most.")] = 64,
    board: Board = "host",
    as_json: AsJson = False,
) -> None:
    """Let the device learn alone; the log holds digests of the samples, not the samples.

    \b
    Examples:
      hadapt device learn digits.hadapt --data new.npz --log log.json --state unit-1/ -b mps2-an386
    """
    with command(as_json):
        loaded = load_model_file(model)
        device = _device(loaded, state, board, None)
        samples = read_samples(data, loaded.feature_count)
        slots, names = to_slots(samples, loaded.class_names)
        count = max(device.memory.learner.n_classes, len(names))
        if count > loaded.max_classes:
            raise wrong(f"{count} classes", str(data), f"at most {loaded.max_classes}")
        chosen = slice(0, rows)
        plan = TrainPlan(steps, seed, learning_rate)
        written = device.learn(samples.x[chosen], slots[chosen], plan, count)
        device.memory.save(state)
        write_output(log, json.dumps(written, indent=1).encode() + b"\n")
        facts: Json = {
            "log": str(log),
            "samples": sum(r["kind"] == "sample" for r in written["records"]),
            "state_hash": device.state_hash,
        }
        print_json(facts) if as_json else print_facts("learned", facts)


@app.command()
def replay(
    model: ModelPath,
    log: Annotated[Path, typer.Option("--log", help="A log of `hadapt device learn`.")],
    data: Data,
    state: Annotated[Path | None, typer.Option("--state", help="Where the log began.")] = None,
    board: Board = "host",
    as_json: AsJson = False,
) -> None:
    """Repeat a device's learning from its log; exit code 1 unless the hash is the same.

    \b
    Examples:
      hadapt device replay digits.hadapt --log log.json --data new.npz
    """
    with command(as_json):
        loaded = load_model_file(model)
        device = _device(loaded, state, board, None)
        try:
            content = json.loads(read_input(log, "a learning log"))
            arrived = device.replay(content, read_samples(data, loaded.feature_count).x)
        except WRONG_JSON as error:
            issue = Issue("not a learning log", str(log), "a file of `hadapt device learn`")
            raise InvalidInputError(f"{log} is no learning log.", [issue]) from error
        same = arrived == content["result_hash"]
        facts: Json = {"log": content["result_hash"], "replay": arrived, "same": same}
        print_json(facts) if as_json else print_facts("replay", facts)
        if not same:
            raise typer.Exit(FAILED)


@app.command()
def score(
    model: ModelPath, data: Data, state: State, board: Board = "host", as_json: AsJson = False
) -> None:
    """Measure the device on samples, where it stands.

    \b
    Examples:
      hadapt device score digits.hadapt --data test.npz --state unit-1/
    """
    with command(as_json):
        loaded = load_model_file(model)
        device = _device(loaded, state, board, None)
        samples = read_samples(data, loaded.feature_count, "test")
        figures = measure(device, samples.x, to_slots(samples, loaded.class_names)[0])
        facts: Json = {
            "state_hash": device.state_hash,
            "accuracy": figures.accuracy if as_json else percent(figures.accuracy),
        }
        print_json(facts) if as_json else print_facts("device", facts)
