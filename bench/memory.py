"""The server's memory."""

import asyncio
from pathlib import Path

from bench.figures import heading, table
from bench.processes import KEY, Product, product

STREAMS = 200


def measure() -> None:
    """Print the server's resident memory (RSS): at rest after its start, with one session, and with
    200 idle event streams of that session open for a few seconds.
    """
    heading("Memory of the server (resident)")
    with product("http://127.0.0.1:9", "bench.spout_server") as server:
        rest = _resident(server.pid)
        session = server.create('{"rate": 1, "count": 1, "batch": 1}')["id"]
        before = _resident(server.pid)
        after = asyncio.run(_with_streams(server, session))
        server.delete(session)
    rows = [["", "MB", "each"], ["at rest", _mb(rest), ""], ["with one session", _mb(before), ""]]
    rows.append(
        [f"and {STREAMS} idle event streams", _mb(after), f"{(after - before) / STREAMS / 1e3:.0f} kB"]
    )
    table(rows)


def _mb(size: int) -> str:
    return f"{size / 1e6:.1f}"


async def _with_streams(server: Product, session: str) -> int:
    streams = [await _open(server, session) for _ in range(STREAMS)]
    await asyncio.gather(*(reader.readuntil(b"event: ping") for reader, _ in streams))
    resident = _resident(server.pid)
    for _, writer in streams:
        writer.close()
    return resident


async def _open(server: Product, session: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, port = server.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    path = f"/v1/sessions/{session}/events"
    writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nX-API-Key: {KEY}\r\n\r\n".encode())
    return reader, writer


def _resident(pid: int) -> int:
    """Bytes."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:"))
