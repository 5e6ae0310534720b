"""Previews under one name: which one is asked for is in a cookie, and nothing else decides it."""

from typing import Any

import pytest

from gateway.dataplane.heads import Request
from gateway.dataplane.replies import Reply
from gateway.trial import COOKIE, TrialPreviews

SANDBOX = "sb-" + "a" * 32
LABEL = f"{SANDBOX}-p3000"


@pytest.fixture
async def previews() -> TrialPreviews:
    unused: dict[str, Any] = dict.fromkeys(("find", "dial", "door_key", "preview_url", "narrate"))
    return TrialPreviews("d111.cloudfront.test", **unused)


def asked(target: str, *cookies: str) -> Request:
    fields = [(b"cookie", b"Cookie", cookie.encode()) for cookie in cookies]
    return Request(b"GET", target.encode(), False, fields)


async def test_the_address_chooses_and_leaves_the_address_bar(previews: TrialPreviews) -> None:
    for target, where in ((f"/~/{LABEL}", "/"), (f"/~/{LABEL}/", "/"), (f"/~/{LABEL}/a/b?c=d", "/a/b?c=d")):
        reply = previews.named(asked(target))
        assert isinstance(reply, Reply)
        headers = dict(reply.headers)
        assert (reply.status, headers["Location"]) == (303, where)
        assert headers["Set-Cookie"].startswith(f"{COOKIE}={LABEL}; Path=/; Secure; HttpOnly")


async def test_the_cookie_is_obeyed(previews: TrialPreviews) -> None:
    assert previews.named(asked("/app.js", f"a=b; {COOKIE}={LABEL}; c=d")) == (SANDBOX, 3000)


@pytest.mark.parametrize(
    "request_",
    [
        asked("/"),
        asked("/", f"{COOKIE}={SANDBOX}-p80"),
        asked("/", f"{COOKIE}={SANDBOX}-p03000"),
        asked("/", f"x{COOKIE}={LABEL}"),
        asked("/", f"{COOKIE}={LABEL}x"),
        asked(f"/~/{SANDBOX}-p99999/"),
        asked("/~/../etc"),
    ],
)
async def test_everything_else_is_404(previews: TrialPreviews, request_: Request) -> None:
    reply = previews.named(request_)
    assert isinstance(reply, Reply) and reply.status == 404


async def test_a_choice_never_leads_to_another_site(previews: TrialPreviews) -> None:
    for path in ("//evil.test", "/\\evil.test", "///evil.test/x"):
        reply = previews.named(asked(f"/~/{LABEL}{path}"))
        assert isinstance(reply, Reply)
        assert dict(reply.headers)["Location"] in ("/evil.test", "/evil.test/x")


async def test_the_one_name_and_no_other_is_ours(previews: TrialPreviews) -> None:
    assert previews.owns(b"D111.cloudfront.test")
    for host in (b"x.d111.cloudfront.test", b"cloudfront.test", b""):
        assert not previews.owns(host)
