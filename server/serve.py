# SPDX-License-Identifier: Apache-2.0
"""Running the service: the API in this process, a worker in another.

python -m server.serve --data DIR --port PORT
"""

import argparse
import contextlib
import ctypes
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from server import logs
from server.app import create_app
from server.errors import Issue, UnavailableError
from server.jobs.supervisor import Supervisor
from server.learning.ports import Engine
from server.services.context import Context, clean_up
from server.services.keys import first_key
from server.settings import Settings

M_ARENA_MAX = -8
ARENAS = 2


class _Server(uvicorn.Server):
    """Says where it listens once requests are answered."""

    def __init__(self, config: uvicorn.Config, url: str) -> None:
        super().__init__(config)
        self._url = url

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then print the ready line, which scripts wait for."""
        await super().startup(sockets)
        sys.stdout.write(f"hadapt ready on {self._url}\n")
        sys.stdout.flush()


def bound_arenas() -> bool:
    """Let threads share two heaps, before there are any; False where the C library cannot.

    glibc gives each of the 40 threads that answer requests a heap of its own, and what was freed in
    one is of no use to the others.
    """
    with contextlib.suppress(AttributeError, OSError):
        return bool(ctypes.CDLL(None).mallopt(M_ARENA_MAX, ARENAS))
    return False


def serve(settings: Settings, engine: Engine | None = None) -> None:
    """Run API and worker until SIGTERM or SIGINT; then stop both.

    Prints `hadapt ready on http://HOST:PORT` on standard output; before it, if there has never
    been a key, `hadapt first key had_..`: once, and nowhere else.
    """
    bound_arenas()
    logs.configure(settings)
    # Before and after uvicorn handles these signals itself, they end us by way of `finally`.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _leave)
    supervisor = Supervisor(settings)
    try:
        # The worker starts meanwhile; both wait for each other where they migrate the schema.
        if settings.worker:
            supervisor.start()
        app = create_app(settings, engine)
        clean_up(app.state.context)
        _show_first_key(app.state.context)
        _run(app, _listen(settings))
    finally:
        supervisor.stop()


def work(settings: Settings) -> None:
    """Run a worker alone until SIGTERM or SIGINT."""
    logs.configure(settings)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _leave)
    supervisor = Supervisor(settings)
    try:
        supervisor.start()
        while True:
            signal.pause()
    finally:
        supervisor.stop()


def _show_first_key(context: Context) -> None:
    key = first_key(context)
    if key is not None:
        sys.stdout.write(f"hadapt first key {key}\n")
        sys.stdout.flush()
        sys.stderr.write(
            "This key may do everything and is shown this once: keep it. Clients read it from the\n"
            "environment variable HADAPT_API_KEY; `hadapt api-keys create` makes another.\n"
        )


def _leave(*_: object) -> None:
    raise SystemExit(0)


def _run(app: FastAPI, listener: socket.socket) -> None:
    host, port = listener.getsockname()[:2]
    trusted = app.state.context.settings.trusted_proxies
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=5,
        # uvicorn would believe X-Forwarded-For of anybody on this machine.
        proxy_headers=bool(trusted),
        forwarded_allow_ips=trusted,
        server_header=False,
    )
    _Server(config, f"http://{host}:{port}").run(sockets=[listener])


def _listen(settings: Settings) -> socket.socket:
    """A socket that children do not inherit, so that the port is free as soon as we are gone."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # asyncio sets TCP_NODELAY only on sockets that name TCP; without it, each answer of two packets
    # waits 40 ms for the client's delayed acknowledgement.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
        listener.listen(2048)
    except OSError as error:
        listener.close()
        where = f"address {settings.host}, port {settings.port}"
        reason = (error.strerror or str(error)).lower()
        issue = Issue(reason, where, "a free port of this machine (--port, --host)")
        raise UnavailableError(f"Cannot listen on {where}: {reason}.", [issue]) from error
    return listener


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry of the command; options not given come from HADAPT_ variables."""
    parser = argparse.ArgumentParser(prog="python -m server.serve", description=__doc__)
    parser.add_argument("--data", type=Path, help="folder of database and blobs")
    parser.add_argument("--host", help="address to listen on")
    parser.add_argument("--port", type=int, help="TCP port, 0 for a free one")
    parser.add_argument("--engine", help="learning engine, module:callable")
    given = parser.parse_args(arguments)
    names = {
        "data_dir": given.data,
        "host": given.host,
        "port": given.port,
        "engine": given.engine,
    }
    serve(Settings(**{name: value for name, value in names.items() if value is not None}))


if __name__ == "__main__":
    main(sys.argv[1:])
