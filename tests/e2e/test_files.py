"""A session's files by the API: while it works, while it sleeps, and once it has ended."""

import io
import os
import tarfile
from typing import Any

import httpx2

from tests.e2e.target import Target, until
from tests.e2e.test_sleeping import asleep

BYTES = {"Content-Type": "application/octet-stream"}


def files(server: Target, session: dict[str, Any], what: str = "files", **query: str) -> httpx2.Response:
    return server.http.get(f"/v1/sessions/{session['id']}/{what}", params=query)


def write(server: Target, session: dict[str, Any], path: str, data: bytes) -> httpx2.Response:
    url = f"/v1/sessions/{session['id']}/files/{path}"
    return server.http.put(url, content=data, headers=BYTES)


def listed(server: Target, session: dict[str, Any], path: str) -> dict[str, str]:
    answer = files(server, session, path=path)
    assert answer.status_code == 200, answer.text
    return {entry["path"]: entry["kind"] for entry in answer.json()["data"]}


def downloaded(server: Target, session: dict[str, Any]) -> dict[str, bytes]:
    answer = files(server, session, "archive")
    assert answer.status_code == 200, answer.text
    with tarfile.open(fileobj=io.BytesIO(answer.content)) as tar:
        return {each.name: file.read() for each in tar if (file := tar.extractfile(each))}


def test_files_of_a_live_session(server: Target) -> None:
    session = server.create("Build a counter app")
    server.turn(session)
    assert listed(server, session, "")["app"] == "folder"
    assert listed(server, session, "app")["app/index.html"] == "file"
    page = files(server, session, "files/app/index.html")
    assert page.headers["content-disposition"] == "attachment; filename*=UTF-8''index.html"
    part = server.http.get(page.request.url, headers={"Range": "bytes=0-8"})
    assert (part.status_code, part.content) == (206, page.content[:9])

    data = os.urandom(3 << 20)
    assert write(server, session, "app/public/new.bin", data).status_code == 204
    assert files(server, session, "files/app/public/new.bin").content == data
    assert server.preview(session, "/public/new.bin").content == data
    refused = write(server, session, "home/.bashrc", b"")
    assert (refused.status_code, files(server, session, "files/home/.bashrc").status_code) == (404, 404)
    assert files(server, session, "files/%2e%2e/%2e%2e/etc/passwd").status_code == 400
    held = downloaded(server, session)
    assert held["app/public/new.bin"] == data and held["app/index.html"] == page.content
    assert not [name for name in held if name.split("/")[0] != "app"]


def test_files_of_a_session_that_sleeps_and_then_ends(server: Target) -> None:
    session = server.create("Build a counter app")
    server.turn(session)
    page = files(server, session, "files/app/index.html").content
    data = os.urandom(1 << 20)
    assert write(server, session, "app/public/new.bin", data).status_code == 204
    held = downloaded(server, session)
    asleep(server, session)
    assert files(server, session, "files/app/public/new.bin").content == data
    assert listed(server, session, "app/public") == {"app/public/new.bin": "file"}
    assert downloaded(server, session) == held
    assert "wakes it" in write(server, session, "app/x", b"x").json()["error"]["message"]
    server.delete(session)
    until(lambda: server.get(session)["status"] == "ended")
    assert files(server, session, "files/app/index.html").content == page
    assert downloaded(server, session) == held
    assert "has ended" in write(server, session, "app/x", b"x").json()["error"]["message"]
