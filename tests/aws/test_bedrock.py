"""Bedrock as the model: each call is signed by the gateway's own credentials, and no key exists anywhere."""

import hashlib
import re
from pathlib import Path

import httpx2
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from starlette.responses import JSONResponse, Response

from opensessions.aws.signing import SigV4
from tests.gateway.model_parts import TOKEN, Answer, Sent, end, frames, model_place, start, streaming, text
from tests.gateway.test_model_cli import builder, sdk, turn

REGION = "us-east-1"
CREDENTIALS = Credentials("AKIDEXAMPLE", "canary-of-the-secret-key", "canary-of-the-session-token")
_SIGNATURE = re.compile(
    r"AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/(\d{8})/us-east-1/bedrock/aws4_request, "
    r"SignedHeaders=([a-z0-9;-]+), Signature=([0-9a-f]{64})"
)


def verified(answer: Answer, seen: list[Sent] | None = None) -> Answer:
    """`answer`, for requests alone whose signature is right by AWS's own arithmetic; else 403."""

    async def judge(sent: Sent) -> Response:
        if seen is not None:
            seen.append(sent)
        if not _right(sent):
            return JSONResponse({"type": "error", "error": {"type": "permission_error"}}, 403)
        return await answer(sent)

    return judge


def _right(sent: Sent) -> bool:
    match = _SIGNATURE.fullmatch(sent.headers.get("authorization", ""))
    if match is None or sent.headers.get("x-amz-security-token") != CREDENTIALS.token:
        return False
    names = match.group(2).split(";")
    signed = {name: sent.headers[name] for name in names}
    url = f"http://{sent.headers['host']}{sent.path}" + (f"?{sent.query}" if sent.query else "")
    request = AWSRequest("POST", url, headers=signed, data=sent.raw)
    request.context["timestamp"] = sent.headers["x-amz-date"]
    auth = SigV4Auth(CREDENTIALS, "bedrock", REGION)
    canonical = auth.canonical_request(request)
    assert hashlib.sha256(sent.raw).hexdigest() in canonical
    return bool(auth.signature(auth.string_to_sign(request, canonical), request) == match.group(3))


def signing(secret: str = CREDENTIALS.secret_key) -> httpx2.Auth:
    return SigV4(Credentials("AKIDEXAMPLE", secret, CREDENTIALS.token), "bedrock", REGION)


async def test_a_call_is_signed_and_streams() -> None:
    hello = streaming(frames(start(), *text("hello"), *end()))
    async with model_place(verified(hello), auth=signing()) as place:
        answer = await place.ask()
        assert (answer.status_code, "hello" in answer.text) == (200, True)
        counted = await place.client.post(
            "/v1/messages/count_tokens",
            headers={"x-api-key": TOKEN},
            json={"model": "claude-test", "messages": [{"role": "user", "content": "hi"}]},
        )
        assert counted.status_code == 200
        assert not any("x-api-key" in sent.headers for sent in place.stub.requests)


async def test_a_wrong_signature_is_found_out_and_told_without_a_secret() -> None:
    hello = streaming(frames(start(), *text("hello"), *end()))
    async with model_place(verified(hello), auth=signing("another secret")) as place:
        answer = await place.ask()
    assert answer.status_code == 403
    assert "canary" not in answer.text and "AKID" not in answer.text


@pytest.mark.skipif(sdk is None, reason="needs the agent's SDK")
async def test_a_turn_of_the_real_agent_and_no_key_anywhere(tmp_path: Path) -> None:
    workspace, seen = tmp_path / "workspace", list[Sent]()
    async with model_place(verified(builder(workspace), seen), auth=signing()) as place:
        heard = await turn(place.url, tmp_path)
    assert heard[-1].result == "it said canar"
    assert len(seen) == 2 and all(map(_right, seen))
    assert not any("x-api-key" in sent.headers for sent in seen)
    told = [file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()]
    assert not any(b"canary-of-the" in content for content in told)
