"""Ports that come, go and come back."""

import asyncio
import socket
from pathlib import Path

from pydantic import BaseModel

from sandbox_task.ports import chosen, listening, watch
from tests.sandbox_task.fake_gateway import eventually


async def test_a_port_is_announced_each_time_it_begins_to_listen() -> None:
    announced: list[int] = []
    told: list[list[int]] = []

    async def put(event: BaseModel) -> None:
        announced.append(event.port)  # type: ignore[attr-defined]

    def listener(port: int = 0) -> socket.socket:
        made = socket.socket()
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(("127.0.0.1", port))
        made.listen()
        return made

    with listener() as own_socket, listener() as first:
        own, port = own_socket.getsockname()[1], first.getsockname()[1]
        mine = {own, port, 80}
        watching = asyncio.create_task(
            watch({own}, put, told.append, seen=lambda: listening() & mine | {80}, interval=0.01)
        )
        await eventually(lambda: announced == [port])
        assert told == [[port]]
        first.close()
        await eventually(lambda: told[-1] == [])
        with listener(port):
            await eventually(lambda: announced == [port, port])
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
    assert own not in announced and 80 not in announced


async def test_the_watch_visits_no_port() -> None:
    told: list[list[int]] = []

    async def put(event: BaseModel) -> None:
        pass

    with socket.create_server(("127.0.0.1", 0)) as private:
        private.setblocking(False)
        port = private.getsockname()[1]
        watching = asyncio.create_task(
            watch(set(), put, told.append, seen=lambda: listening() & {port}, interval=0.01)
        )
        await eventually(lambda: told == [[port]])
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        try:
            private.accept()
        except BlockingIOError:
            return
    raise AssertionError("somebody called")


def test_a_port_that_the_system_picked_is_nobodys_to_visit(tmp_path: Path) -> None:
    picked = tmp_path / "ip_local_port_range"
    with socket.create_server(("127.0.0.1", 0)) as private:
        port = private.getsockname()[1]
        picked.write_text(f"{port}\t{port}\n")
        assert port in listening() and port not in chosen(picked)
        picked.write_text("1024\t1024\n")
        assert port in chosen(picked)


def test_only_what_the_loopback_leads_to_counts(tmp_path: Path) -> None:
    table = tmp_path / "tcp"
    lines = [
        f"   {n}: {local} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000 0 0 {n} 1"
        for n, (local, state) in enumerate(
            [
                ("00000000:0BB8", "0A"),
                ("0100007F:0BB9", "0A"),
                ("0100007F:0BBA", "01"),
                ("0200000A:0BBB", "0A"),
                ("00000000000000000000000000000000:0BBC", "0A"),
                ("00000000000000000000000001000000:0BBD", "0A"),
                ("0000000000000000FFFF00000100007F:0BBE", "0A"),
                ("000080FE00000000FF00FE0201005E00:0BBF", "0A"),
            ]
        )
    ]
    table.write_text("\n".join(["  sl  local_address rem_address   st", *lines]) + "\n")
    assert listening((table, tmp_path / "absent")) == {3000, 3001, 3004, 3005, 3006}
