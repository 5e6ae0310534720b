"""An account's own key of the model, on a running server: it reaches the model with that account's calls."""

from collections import defaultdict
from pathlib import Path
from typing import Any

import httpx2
from starlette.datastructures import Headers

from opensessions.local.demo_model.app import create_demo_model
from tests.e2e.server import Server
from tests.rehearsal.served import Served

OPERATORS, OWN = "sk-canary-of-the-operator", "sk-canary-of-globex"


class Model:
    """The demo model. `keys` are those that came with each prompt."""

    def __init__(self) -> None:
        self.keys: dict[str, set[str | None]] = defaultdict(set)
        self._model = create_demo_model()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        said, key = bytearray(), Headers(scope=scope).get("x-api-key")

        async def hear() -> Any:
            message = await receive()
            said.extend(message.get("body", b""))
            for name in (b"quokka", b"wombat"):
                if name in said:
                    self.keys[name.decode()].add(key)
            return message

        await self._model(scope, hear, send)


def test_an_accounts_key_goes_with_its_own_calls_alone(tmp_path: Path) -> None:
    model = Model()
    served = Served(model)
    environment = {"OPENSESSIONS_MODEL_URL": served.address, "ANTHROPIC_API_KEY": OPERATORS}
    server = Server(tmp_path, environment=environment).start()
    try:
        theirs = {"X-API-Key": server.new_key("theirs", account="globex")}
        url = f"{server.url}/v1/model-key"
        assert httpx2.put(url, headers=theirs, json={"key": OWN}).json()["set"] is True
        assert server.http.get("/v1/model-key").json() == {"set": False, "since": None}
        ours = server.create("say quokka")
        other = Other(server, theirs)
        made = other.create("say wombat")
        server.turn(ours)
        other.turn(made)
        assert model.keys == {"quokka": {OPERATORS}, "wombat": {OWN}}
        assert httpx2.delete(url, headers=theirs).status_code == 204
        other.turn(made, "say wombat again")
        assert model.keys["wombat"] == {OWN, OPERATORS}
        stored = [file.read_bytes() for file in (tmp_path / "data").rglob("*") if file.is_file()]
        assert not [data for data in stored if OWN.encode() in data]
        assert OWN not in server.log() and OPERATORS not in server.log()
    finally:
        server.stop()
        served.close()


class Other(Server):
    """The same server, for a caller with another key."""

    def __init__(self, server: Server, headers: dict[str, str]) -> None:
        super().__init__(server.data)
        self.url = self.front = server.url
        self.http = httpx2.Client(base_url=server.url, headers=headers, timeout=30)
