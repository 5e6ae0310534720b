"""That the search through each server's log finds what it looks for."""

import json
from pathlib import Path

import pytest

from opensessions.access import tokens
from opensessions.local.announcement import EXAMPLE
from tests.e2e.server import KEY, Server

PROMPT, MODEL_KEY = 'Write a "letter"\nto nobody', "canary-of-a-model-key"
SESSION, WORKER = f"session_{'a' * 32}", tokens.worker_token(f"sb-{'b' * 32}")
PLANTED = {
    "the server's key": KEY,
    "another key": tokens.api_key(),
    "a worker's token": WORKER,
    "a boot ticket": tokens.boot_ticket(WORKER),
    "a session's token": tokens.session_token(SESSION),
    "a preview's token": tokens.preview_token(SESSION),
    "a webhook's secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "a key of a model": "sk-ant-api03-0123456789abcdef",
    "the key of the server's model": MODEL_KEY,
    "a prompt": PROMPT,
    "a prompt as JSON": json.dumps(PROMPT),
    "a prompt in an exception": repr(PROMPT),
}


@pytest.fixture
def ended(tmp_path: Path) -> Server:
    server = Server(tmp_path, told={PROMPT, MODEL_KEY, "ok"})
    lines = f"  -d '{json.dumps(EXAMPLE)}'\n2026 INFO gateway.relay: it is ok session={SESSION}\n"
    (tmp_path / "server.log").write_text(lines)
    return server


def test_a_clean_log_passes(ended: Server) -> None:
    ended.keep_secrets()


@pytest.mark.parametrize("what", PLANTED)
def test_what_is_planted_is_found(ended: Server, what: str) -> None:
    with (ended.data / "server.log").open("a") as log:
        log.write(f"2026 WARNING gateway.relay: POST /v1/sessions?a={PLANTED[what]}&b failed\n")
    with pytest.raises(AssertionError, match="It was logged"):
        ended.keep_secrets()
