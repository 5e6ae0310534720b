"""What is kept while turns are quicker than archives, and when archives fail."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from opensessions.archives import Kept, Server
from sandbox_task.keeping import Keeper
from sandbox_task.site import Site
from sandbox_task.workspace.transfer import ArchiveFailed
from sandbox_task.workspace.versions import Versions
from tests.sandbox_task.fake_gateway import eventually


class Store:
    """Archives that take as long as `open` is not set, and fail as long as there are `failures`."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.made: list[dict[str, Any]] = []
        self.open = asyncio.Event()
        self.failures: list[str] = []

    async def save(self, kind: str, **fields: Any) -> Kept:
        self.begun.append(kind)
        await self.open.wait()
        if self.failures:
            raise ArchiveFailed(self.failures.pop(0))
        self.made.append({"kind": kind, **fields})
        return Kept(version=len(self.made))


class Listening:
    def seen(self) -> Sequence[Server]:
        return [Server(port=3000, command=["true"])]


class Kit:
    """A keeper of a workspace, with a store that is told when to be done."""

    def __init__(self, root: Path) -> None:
        self.root, self.said = root, list[Any]()
        self.store = Store()
        site = Site.__new__(Site)
        site.store, site.servers = self.store, Listening()  # type: ignore[assignment]
        site.versions = Versions(root)
        self.keeper = Keeper(site, 10**9, self._put)

    async def _put(self, event: BaseModel) -> None:
        self.said.append(event)

    async def turn(self, number: int) -> None:
        (self.root / "app" / f"{number}.txt").write_text(f"{number}\n")
        await self.keeper.turned(f"msg_{number}", f"do {number}", f"talk_{number}")


@pytest.fixture
async def kit(tmp_path: Path) -> AsyncIterator[Kit]:
    (tmp_path / "app").mkdir()
    made = Kit(tmp_path)
    running = asyncio.create_task(made.keeper.run())
    yield made
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_one_archive_at_a_time_and_the_next_has_every_turn_that_waited(kit: Kit) -> None:
    await kit.turn(1)
    await eventually(lambda: kit.store.begun)
    await kit.turn(2)
    await kit.turn(3)
    assert kit.store.begun == ["light"]
    kit.store.open.set()
    await eventually(lambda: len(kit.store.made) == 2)
    first, second = kit.store.made
    assert (first["turns"][-1].message_id, first["claude_session_id"]) == ("msg_1", "talk_1")
    assert first["servers"][0].port == 3000 and first["limit"] == 10**9 and first["inbox_seq"] == 0
    told = [(turn.message_id, turn.text, [change.path for change in turn.files]) for turn in second["turns"]]
    assert told == [("msg_2", "do 2", ["app/2.txt"]), ("msg_3", "do 3", ["app/3.txt"])]
    assert "+2\n" in second["turns"][0].diff and "+2\n" not in second["turns"][1].diff
    assert second["commit"] == second["turns"][1].commit != second["turns"][0].commit != first["commit"]
    assert len(kit.store.begun) == 2


async def test_what_failed_is_said_once_and_is_in_the_next_archive(kit: Kit) -> None:
    kit.store.open.set()
    kit.store.failures = ["The workspace is too large.", "The workspace is too large."]
    for number in (1, 2):
        await kit.turn(number)
        await eventually(lambda number=number: len(kit.store.begun) == number)
    await eventually(lambda: not kit.store.failures)
    assert [(event.code, event.message) for event in kit.said] == [
        ("archive_failed", "The version is not kept: The workspace is too large.")
    ]
    async with kit.keeper.alone():
        await kit.keeper.full(7, "talk_2", [])
    (full,) = kit.store.made
    assert (full["kind"], full["inbox_seq"], full["servers"]) == ("full", 7, [])
    assert [(turn.message_id, turn.changed) for turn in full["turns"]] == [("msg_1", 1), ("msg_2", 1)]


async def test_after_going_back_the_archive_is_no_version_and_the_next_one_counts_from_there(
    kit: Kit,
) -> None:
    kit.store.open.set()
    await kit.turn(1)
    await kit.turn(2)
    await eventually(lambda: kit.store.made and kit.store.made[-1]["turns"][-1].message_id == "msg_2")
    made = len(kit.store.made)
    first = await asyncio.to_thread(Versions(kit.root).present)
    assert first is not None
    async with kit.keeper.alone():
        kit.keeper.went_back(first, "talk_1")
    await eventually(lambda: len(kit.store.made) == made + 1)
    assert not kit.store.made[-1]["turns"] and kit.store.made[-1]["commit"] == first
    await kit.turn(3)
    await eventually(lambda: len(kit.store.made) == made + 2)
    assert [change.path for change in kit.store.made[-1]["turns"][-1].files] == ["app/3.txt"]
