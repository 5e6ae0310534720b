"""A session that sleeps, wakes, goes back, branches and is deleted for good."""

import json
from typing import Any

from tests.e2e.target import Target, until
from tests.e2e.test_main_job import words
from tests.e2e.workspace import still, tree

REMEMBER = "What did I ask you so far?"


def post(server: Target, path: str, **body: Any) -> Any:
    answer = server.http.post(f"/v1/{path}", json=body or None)
    assert answer.status_code in (200, 201), answer.text
    return answer.json()


def told(server: Target, session: dict[str, Any], kind: str, after: int = 0) -> dict[str, Any]:
    """The first event of a kind after a number."""
    return server.events(session, kind, after)[-1]


def saved(server: Target, session: dict[str, Any], number: int) -> None:
    """Wait until a version is kept."""
    until(lambda: server.get(session)["version"] >= number or None, 30)


def asleep(server: Target, session: dict[str, Any]) -> dict[str, Any]:
    """The session, sent to sleep, once its sandbox is gone."""
    post(server, f"sessions/{session['id']}/hibernate")
    told(server, session, "hibernated", session["lastSeq"])
    now = server.get(session)
    assert (now["status"], now["sandboxStatus"]) == ("ready", "hibernated")
    return now


def visited(server: Target, session: dict[str, Any], seconds: float = 60) -> str:
    """The preview's page, once there is one."""

    def look() -> str | None:
        page = server.preview(session, **{"Sec-Fetch-Dest": "document", "Accept": "text/html"})
        assert page.status_code in (200, 502, 503), page.text
        return page.text if page.status_code == 200 else None

    return until(look, seconds)


def as_the_first(server: Target, session: dict[str, Any], files: dict[str, bytes]) -> None:
    """The preview, the files and the conversation are as they were before anything was called Second."""
    page = visited(server, session)
    assert "First" in page and "Second" not in page
    assert still(tree(server, session)) == files
    ready = until(lambda: (now := server.get(session))["status"] == "ready" and now, 60)
    said = words(server.turn(ready, REMEMBER))
    assert "called First" in said and "Second" not in said


def test_it_sleeps_and_wakes_by_a_visit_as_it_was(server: Target) -> None:
    session = server.create("Build a counter app")
    server.turn(session)
    page, files = server.preview(session).text, still(tree(server, session))
    assert "app/index.html" in files
    session = asleep(server, session)
    assert still(tree(server, session)) == files
    assert visited(server, session) == page
    awake = server.get(session)
    assert awake["previewUrl"] == session["previewUrl"]
    assert still(tree(server, session)) == files
    assert told(server, session, "woken", session["lastSeq"])["reason"] == "preview"
    assert "Build a counter app" in words(server.turn(awake, REMEMBER))
    server.delete(session)


def test_a_message_wakes_it_too(server: Target) -> None:
    session = server.create("run: echo kept > note.txt")
    server.turn(session)
    session = asleep(server, session)
    events = server.turn(session, "run: cat note.txt")
    assert "kept" in json.dumps(events)
    assert told(server, session, "woken", session["lastSeq"])["reason"] == "message"
    assert "echo kept" in words(server.turn(server.get(session), REMEMBER))
    server.delete(session)


def test_back_to_the_first_version_and_on_from_there(server: Target) -> None:
    session = server.create("Build a counter app called First")
    server.turn(session)
    saved(server, session, 1)
    page = server.preview(session).text
    for number, ask in ((2, "call it Second"), (3, "run: echo more > more.txt")):
        server.turn(server.get(session), ask)
        saved(server, session, number)
    assert "Second" in server.preview(session).text
    listed = server.http.get(f"/v1/sessions/{session['id']}/versions").json()["data"]
    assert [(each["number"], each["parent"]) for each in listed] == [(1, 0), (2, 1), (3, 2)]
    diff = server.http.get(f"/v1/sessions/{session['id']}/versions/2/diff").text
    assert "index.html" in diff and "+" in diff and "Second" in diff

    before = server.get(session)
    post(server, f"sessions/{session['id']}/restore", version=1)
    told(server, session, "restored", before["lastSeq"])
    restored = until(lambda: (now := server.get(session))["status"] == "ready" and now)
    assert restored["version"] == 1
    until(lambda: server.preview(session).text == page, 20)
    assert "app/more.txt" not in tree(server, session)
    said = words(server.turn(restored, REMEMBER))
    assert "called First" in said and "Second" not in said, said
    saved(server, session, 4)
    listed = server.http.get(f"/v1/sessions/{session['id']}/versions").json()["data"]
    assert [(each["number"], each["parent"]) for each in listed][-1] == (4, 1)
    server.delete(session)


def test_a_branch_and_its_parent_go_their_own_ways(server: Target) -> None:
    parent = server.create("run: echo common > shared.txt")
    server.turn(parent)
    saved(server, parent, 1)
    server.turn(server.get(parent), "run: echo parent >> shared.txt")
    saved(server, parent, 2)
    origin = {"session": parent["id"], "version": 1}
    child = server.create("run: echo child >> shared.txt", user_id=parent["userId"], **{"from": origin})
    server.turn(child)
    assert tree(server, parent)["app/shared.txt"] == b"common\nparent\n"
    assert tree(server, child)["app/shared.txt"] == b"common\nchild\n"
    assert "echo common" in words(server.turn(server.get(child), REMEMBER))
    for session in (parent, child):
        server.delete(session)


def test_a_template_starts_others(server: Target) -> None:
    session = server.create("run: mkdir -p node_modules/dep && echo installed > node_modules/dep/index.js")
    server.turn(session)
    template = post(server, "templates", session=session["id"], name="With a dependency")
    assert template["status"] in ("preparing", "ready")
    path = f"/v1/templates/{template['id']}"
    until(lambda: server.http.get(path).json()["status"] == "ready", 60)
    server.delete(session)
    child = server.create("run: cat node_modules/dep/index.js", **{"from": {"template": template["id"]}})
    assert "installed" in json.dumps(server.turn(child))
    assert "mkdir" not in words(server.turn(server.get(child), REMEMBER))
    server.delete(child)
    assert template["id"] in str(server.http.get("/v1/templates").json())
    assert server.http.delete(path).status_code == 204
    assert server.http.get(path).status_code == 404


def test_purged_is_gone(server: Target) -> None:
    session = server.create("say 3 words")
    server.turn(session)
    asleep(server, session)
    answer = server.http.delete(f"/v1/sessions/{session['id']}", params={"purge": "true"})
    assert answer.json() == {"id": session["id"], "status": "ended", "purged": True}
    for path in ("", "/events/page", "/files", "/archive", "/versions"):
        assert server.http.get(f"/v1/sessions/{session['id']}{path}").status_code == 404, path
    assert server.preview(session).status_code == 404
