"""Archives on their way to a gateway that fails, and back."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from opensessions.archives import PART_BYTES, Kept, Server, Turn
from sandbox_task import gateway, relays
from sandbox_task.gateway import Backoff, Revoked
from sandbox_task.workspace.transfer import ArchiveFailed, Archives
from tests.sandbox_task.fake_gateway import serving
from tests.sandbox_task.workspace.fake_store import PROXY_TOKEN, FakeStore
from tests.sandbox_task.workspace.trees import snapshot

Of = Callable[[Path], Archives]
QUICK = Backoff(first=0.001, most=0.01)


@pytest.fixture(params=["gateway", "store"])
def store(request: pytest.FixtureRequest) -> FakeStore:
    return FakeStore(where=request.param)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "workspace"
    (root / "app").mkdir(parents=True)
    (root / "app/noise").write_bytes(os.urandom(50_000))
    (root / "app/index.html").write_text("hello")
    return root


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """A workspace without anything."""
    (tmp_path / "other").mkdir()
    return tmp_path / "other"


@pytest.fixture
async def of(tmp_path: Path, store: FakeStore) -> AsyncIterator[Of]:
    """The archives of a workspace."""
    socket = tmp_path / "gateway.sock"
    async with serving(store, socket), gateway.client(f"unix:{socket}", "worker-token") as client:
        egress = await relays.reachable(f"unix:{socket}", set())
        yield lambda root: Archives(client, egress, PROXY_TOKEN, root, QUICK, tries=4)
    assert store.problems == []


async def test_a_workspace_goes_and_comes_back(of: Of, store: FakeStore, root: Path, other: Path) -> None:
    for number in range(2):
        (root / f"app/large{number}").write_bytes(os.urandom(PART_BYTES))
    server = Server(port=5173, command=["npm", "run", "dev"], cwd="app")
    turn = Turn(message_id="msg_1", text="Make it blue", changed=1)
    kept = await of(root).save(
        "full", commit="a" * 40, claude_session_id="c", servers=[server], turns=[turn], inbox_seq=7
    )
    assert kept == Kept(version=3)
    [archived] = store.archives.values()
    assert [part.size == PART_BYTES for part in archived.parts] == [True, True, False]
    assert (archived.commit, archived.claude_session_id, archived.inbox_seq) == ("a" * 40, "c", 7)
    assert (archived.servers, archived.turns, archived.kind) == ([server], [turn], "full")
    assert archived.files == 5
    await of(other).fetch([store.source()])
    assert snapshot(other) == snapshot(root)


async def test_what_may_work_the_next_time_is_tried_again(
    of: Of, store: FakeStore, root: Path, other: Path
) -> None:
    store.faults["ask"].extend([503, "drop", "fine", "fine", 429])
    store.faults["put"].extend([500, "fine", "drop", 503])
    store.faults["finish"].extend(["drop", 502, "cut"])
    await of(root).save("full")
    assert (len(store.archives), store.counts["finish"]) == (1, 4)
    store.faults["get"].extend([503, "cut", "other"])
    await of(other).fetch([store.source()])
    assert snapshot(other) == snapshot(root)


@pytest.mark.parametrize("fault", ["other", "long", "short"])
async def test_nothing_is_unpacked_that_was_not_stored(
    of: Of, store: FakeStore, root: Path, other: Path, fault: str
) -> None:
    await of(root).save("full")
    store.faults["get"].extend([fault] * 100)
    with pytest.raises(ArchiveFailed, match=r"part of the archive|none"):
        await of(other).fetch([store.source()])
    assert snapshot(other) == {}


async def test_a_gateway_that_never_answers_well_is_given_up(of: Of, store: FakeStore, root: Path) -> None:
    store.faults["ask"].extend([503] * 4)
    with pytest.raises(ArchiveFailed, match=r"503: refused by the test \(tried 4 times\)"):
        await of(root).save("light")
    assert store.archives == {}


async def test_a_refusal_is_not_repeated(of: Of, store: FakeStore, root: Path) -> None:
    store.faults["finish"].append(422)
    with pytest.raises(ArchiveFailed, match="422: refused by the test"):
        await of(root).save("light")
    assert store.counts["finish"] == 1


@pytest.mark.parametrize(("kind", "status"), [("ask", 401), ("finish", 410)])
async def test_the_end_of_the_sandbox_passes_through(
    of: Of, store: FakeStore, root: Path, kind: str, status: int
) -> None:
    store.faults[kind].append(status)
    with pytest.raises(Revoked):
        await of(root).save("light")


async def test_a_workspace_that_is_too_large_says_so(of: Of, store: FakeStore, root: Path) -> None:
    with pytest.raises(
        ArchiveFailed, match=r"holds 50\.0 kB in files, and an archive of it may hold 1\.0 kB"
    ):
        await of(root).save("full", limit=1000)
    assert store.counts == {}


async def test_an_archive_that_is_larger_than_it_may_be_is_not_even_fetched(
    of: Of, store: FakeStore, root: Path
) -> None:
    await of(root).save("full")
    with pytest.raises(ArchiveFailed, match=r"holds 50\.0 kB, and the workspace may hold 1\.0 kB"):
        await of(root).fetch([store.source()], limit=1000)
    assert store.counts["get"] == 0


async def test_a_full_and_a_light_one_are_unpacked_in_order(
    of: Of, store: FakeStore, root: Path, other: Path
) -> None:
    (root / "app/node_modules").mkdir()
    (root / "app/node_modules/x.js").write_text("x")
    await of(root).save("full")
    (root / "app/noise").unlink()
    (root / "app/index.html").write_text("bye")
    await of(root).save("light")
    await of(other).fetch([store.source(0), store.source(1)])
    assert snapshot(other) == snapshot(root)


async def test_who_gives_up_leaves_no_process(of: Of, store: FakeStore, root: Path) -> None:
    saving = asyncio.create_task(of(root).save("full"))
    while not store.parts:
        await asyncio.sleep(0.001)
    saving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await saving
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    commands = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in children]
    assert not any(str(root).encode() in command for command in commands)
