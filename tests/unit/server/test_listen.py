# SPDX-License-Identifier: Apache-2.0
"""Answers leave at once: accepted connections do not wait for acknowledgements."""

import asyncio
import socket
from pathlib import Path

from server.serve import _listen
from server.settings import Settings


def test_accepted_connections_do_not_delay_answers(tmp_path: Path) -> None:
    listener = _listen(Settings(data_dir=tmp_path, port=0))
    seen: list[int] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted = writer.get_extra_info("socket")
        seen.append(accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        writer.close()

    async def run() -> None:
        server = await asyncio.start_server(serve, sock=listener)
        async with server:
            reader, writer = await asyncio.open_connection(*listener.getsockname()[:2])
            await reader.read()
            writer.close()

    asyncio.run(run())
    assert seen and seen[0]
