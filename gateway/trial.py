"""Previews under one name, for trying the product without a domain of one's own.

A visitor comes by `/~/<sandbox>-p<port>/<path>`, which puts the choice into a cookie and leads to `/<path>`;
everything that comes with the cookie is that preview's. One browser so sees one preview at a time, and all of
them share one origin: it is for one tenant.
"""

import re

from gateway.dataplane.heads import Request
from gateway.dataplane.replies import Reply
from gateway.previews import Label, Previews, label
from gateway.waiting import answer

COOKIE = "__Host-os_preview"
_CHOICE = re.compile(rb"/~/([a-z0-9-]{1,63})(/[\x21-\x7e]*)?")
_COOKIE = re.compile(rb"(?:^|;[ \t]*)" + COOKIE.encode() + rb"=([a-z0-9-]{1,63})(?=;|$)")


class TrialPreviews(Previews):
    """`domain` is the one name."""

    apart = False

    def owns(self, host: bytes) -> bool:
        return host.lower() == self.domain.encode()

    def name(self, request: Request) -> bytes:
        if not self.owns(request.host) or _CHOICE.fullmatch(request.target):
            return b""
        cookie = _COOKIE.search(request.field(b"cookie") or b"")
        return cookie.group(1) if cookie else b""

    def named(self, request: Request) -> Label | Reply:
        if not self.owns(request.host):
            return answer(421, "Not here.")
        if choice := _CHOICE.fullmatch(request.target):
            return _chosen(choice.group(1), choice.group(2) or b"/")
        return label(self.name(request)) or answer(404, "Choose a preview by the address of its session.")


def _chosen(name: bytes, path: bytes) -> Reply:
    if label(name) is None:
        return answer(404, "There is no such preview.")
    where = "/" + path.decode("ascii").lstrip("/\\")
    cookie = f"{COOKIE}={name.decode()}; Path=/; Secure; HttpOnly; SameSite=None; Partitioned"
    return Reply(303, b"", (("Location", where), ("Set-Cookie", cookie), ("Cache-Control", "no-store")))
