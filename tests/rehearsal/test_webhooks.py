"""Webhooks of the deployed system: by the queue and the function, over TLS, to names on the internet."""

import json
import ssl
from collections.abc import Iterator
from typing import Any

import pytest

from tests.certificates import certificate
from tests.e2e.receiver import Delivery, Receiver, receiver, unverified
from tests.e2e.target import until
from tests.rehearsal.rehearsal import Rehearsal

pytestmark = [pytest.mark.rehearsal, pytest.mark.timeout(400)]

PUBLIC, INSIDE = "hooks.example.com", "inside.example.com"


def moved(delivery: Delivery, before: int) -> tuple[int, dict[str, str]]:
    return 307, {"Location": "http://169.254.169.254/latest/meta-data"}


@pytest.fixture(scope="module")
def there(server: Rehearsal) -> Iterator[Receiver]:
    """Two names of the internet lead to it: one by a public address, the other by a private one."""
    folder = server.emulator.folder
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate(folder / "authority.pem", PUBLIC, INSIDE))
    answers: Any = {
        "fails": lambda _, before: (204 if before else 500, {}),
        "moves": moved,
        "leaves": lambda _, before: (410, {}),
    }
    with receiver(context, **answers) as running:
        names = {PUBLIC: "93.184.216.34", INSIDE: "10.42.0.7"}
        told = {name: {"address": address, "port": running.port} for name, address in names.items()}
        (folder / "internet.json").write_text(json.dumps(told))
        yield running
        (folder / "internet.json").unlink()


def hook(server: Rehearsal, path: str, host: str = PUBLIC) -> dict[str, Any]:
    answer = server.http.post("/v1/webhooks", json={"url": f"https://{host}{path}"})
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def test_each_receiver_is_handled_as_documented(server: Rehearsal, there: Receiver) -> None:
    made = {path: hook(server, path) for path in ("/takes", "/fails", "/moves", "/leaves")}
    made["/inside"] = hook(server, "/inside", INSIDE)
    try:
        session = server.create("sleep 600", metadata={"order": "17"})
        server.delete(session)
        everything = list(range(1, server.get(session)["lastSeq"] + 1))
        until(lambda: _seqs(there, "/takes") == everything, 120)
        until(lambda: _seqs(there, "/fails") == [1, *everything], 120)
        first, second = there.of("/fails")[:2]
        assert second.at - first.at > 4.5 and second.id == first.id
        assert there.of("/takes")[-1].told["metadata"] == {"order": "17"}
        assert len(there.of("/leaves")) == 1 and set(_seqs(there, "/moves")) == {1}
        assert not there.of("/inside")
        until(lambda: "leads to an address that is not public" in server.log())
        off = server.http.get(f"/v1/webhooks/{made['/leaves']['id']}").json()
        assert (off["status"], off["reason"]) == ("off", "The receiver answered 410.")
        for path in ("/takes", "/fails"):
            assert unverified(made[path]["secret"], there.of(path)) == []
        assert server.dead_letters() == 0
    finally:
        for each in made.values():
            server.http.delete(f"/v1/webhooks/{each['id']}")


def _seqs(there: Receiver, path: str) -> list[int]:
    return [delivery.told["seq"] for delivery in there.of(path)]
