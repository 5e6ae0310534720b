"""The other shapes in which the stack is deployed: each does the main job, and goes."""

import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from tests.e2e.target import until
from tests.rehearsal.rehearsal import Rehearsal

pytestmark = [pytest.mark.rehearsal, pytest.mark.timeout(240)]


def invisible(system: Rehearsal, session: dict[str, Any]) -> None:
    """There is no preview, neither told of nor answered."""
    assert session["previewUrl"] == ""
    for host in (f"{session['sandboxId']}-p3000.previews.example.com", "d111.cloudfront.net"):
        path = f"{system.front}/~/{session['sandboxId']}-p3000/"
        assert httpx2.get(path, headers={"Host": host}, timeout=10).status_code == 404


def on_trial(system: Rehearsal, session: dict[str, Any]) -> None:
    """By CloudFront's one name: the path chooses the preview, and from then on a cookie tells it."""
    url = urlsplit(session["previewUrl"])
    assert re.fullmatch(r"[a-z0-9]+\.cloudfront\.net", url.netloc)
    assert url.path == f"/~/{session['sandboxId']}-p3000/"
    with httpx2.Client(base_url=system.front, headers={"Host": url.netloc}, timeout=10) as visitor:
        assert visitor.get("/").status_code == 404
        chosen = visitor.get(url.path)
        assert (chosen.status_code, chosen.headers["location"]) == (303, "/")
        # The cookie is for HTTPS alone, which ends at CloudFront.
        page = visitor.get("/", headers={"Cookie": chosen.headers["set-cookie"].split(";")[0]})
    assert page.status_code == 200 and "<title>" in page.text


@pytest.mark.parametrize(
    ("network", "previews", "visit"), [("open", "off", invisible), ("isolated", "trial", on_trial)]
)
def test_it_is_deployed_and_does_its_job(network: str, previews: str, visit: Any, tmp_path: Path) -> None:
    system = Rehearsal(tmp_path, network=network, previews=previews, preview_domain="", preview_zone_id="")
    try:
        session = system.create("Build a counter app")
        told = system.turn(session)
        assert (told[0]["type"], told[-1]["reason"]) == ("sandbox_ready", "completed")
        visit(system, session)
        system.delete(session)
        until(lambda: system.running(session) == [])
        assembly = str(tmp_path / "cdk.out")  # which spares it to synthesise once more
        said = system.deployment.operate("destroy", "--yes", CDK_APP=assembly)
        assert "0 sandboxes were stopped" in said
        assert system.deployment.status() is None
    finally:
        system.stop()
