"""A session's files as its caller sees them, for comparing."""

import io
import tarfile
from typing import Any

from tests.e2e.target import Target


def tree(server: Target, session: dict[str, Any]) -> dict[str, bytes]:
    """Every file of the session's own, with its bytes."""
    answer = server.http.get(f"/v1/sessions/{session['id']}/archive", timeout=60)
    assert answer.status_code == 200, answer.text
    with tarfile.open(fileobj=io.BytesIO(answer.content), mode="r:gz") as archive:
        files = [member for member in archive if member.isfile()]
        return {member.name: archive.extractfile(member).read() for member in files}  # type: ignore[union-attr]


def still(files: dict[str, bytes]) -> dict[str, bytes]:
    """Those that nothing writes into while nobody works."""
    return {name: data for name, data in files.items() if not name.endswith(".log")}
