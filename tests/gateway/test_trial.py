"""Previews under one name: which one is asked for is in a cookie, and nothing else decides it."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.dataplane.heads import Request
from gateway.dataplane.replies import Reply
from gateway.trial import COOKIE, TrialPreviews
from tests.gateway.test_previews import A, B, Stage, closing

SANDBOX = A
LABEL = f"{SANDBOX}-p3000"


@pytest.fixture
async def previews() -> TrialPreviews:
    unused: dict[str, Any] = dict.fromkeys(("find", "dial", "door_key", "preview_url", "narrate"))
    unused |= dict.fromkeys(("uses", "wakes", "private"))
    return TrialPreviews("d111.cloudfront.test", **unused)


def asked(target: str, *cookies: str) -> Request:
    fields = [(b"cookie", b"Cookie", cookie.encode()) for cookie in cookies]
    request = Request(b"GET", target.encode(), False, fields)
    request.host = b"d111.cloudfront.test"
    return request


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


async def test_a_request_for_another_name_is_not_ours(previews: TrialPreviews) -> None:
    request = asked("/", f"{COOKIE}={LABEL}")
    request.host = b"api.test"
    reply = previews.named(request)
    assert (isinstance(reply, Reply) and reply.status == 421) and previews.name(request) == b""


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    made = Stage(tmp_path, TrialPreviews, "d111.cloudfront.test")
    async with closing(made):
        yield made


async def test_each_visitor_gets_the_preview_that_they_chose(stage: Stage) -> None:
    ports = {}
    for sandbox in (A, B):
        await stage.sandbox(sandbox)
        ports[sandbox] = await stage.app(f"app of {sandbox}")
    for sandbox in (A, B, A):
        chosen = await stage.get(stage.domain, f"/~/{sandbox}-p{ports[sandbox]}/page")
        assert (chosen.status, chosen.headers["location"]) == (303, "/page")
        cookie = chosen.headers["set-cookie"].partition(";")[0]
        page = await stage.get(stage.domain, "/page", Cookie=cookie)
        assert page.status == 200 and page.body.startswith(f"app of {sandbox} ".encode())
    assert (await stage.get(stage.domain, "/page")).status == 404
