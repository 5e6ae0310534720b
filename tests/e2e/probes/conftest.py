"""One server, as root and as a plain user, and three sessions on it, for all probes from inside."""

from collections.abc import Iterator

import pytest

from tests.e2e.probes.hostile import CANARY, MODEL, MODEL_KEY, MODES, Inside, Model, serving
from tests.e2e.server import Server


@pytest.fixture(scope="session")
def model() -> Iterator[Model]:
    with Model().answering() as answering:
        yield answering


@pytest.fixture(scope="session", params=MODES)
def server(request: pytest.FixtureRequest, model: Model) -> Iterator[Server]:
    """One with the key of a model, and a canary, in its environment."""
    environment = {
        "ANTHROPIC_API_KEY": MODEL_KEY,
        "OPENSESSIONS_MODEL_URL": f"http://127.0.0.1:{model.port}",
        "OPENSESSIONS_MODELS": f"claude-sonnet-4-5, {MODEL}",
        "OPENSESSIONS_EGRESS_ALLOW": "example.com,*.example.org",
        "CANARY_SECRET": CANARY,
        "AWS_SECRET_ACCESS_KEY": CANARY,
    }
    with serving(request.param, **environment) as running:
        yield running


@pytest.fixture(scope="session")
def inside(server: Server) -> Inside:
    return Inside.of(server)


@pytest.fixture(scope="session")
def neighbour(server: Server) -> Inside:
    return Inside.of(server, allowed_hosts=["example.com", "example.net", ".sub.example.org"])


@pytest.fixture(scope="session")
def attackers(server: Server) -> list[Inside]:
    return []


@pytest.fixture
def attacker(server: Server, attackers: list[Inside]) -> Inside:
    """A sandbox that may perish."""
    if attackers and not attackers[-1].works():
        attackers.pop().end()
    if not attackers:
        attackers.append(Inside.of(server, allowed_hosts=[]))
    return attackers[-1]
