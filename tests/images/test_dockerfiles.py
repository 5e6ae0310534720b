"""What is written in the Dockerfiles; needs no image."""

import re

import pytest

from tests.images.building import DOCKERFILES
from tests.images.podman import REPOSITORY


@pytest.fixture(params=DOCKERFILES)
def lines(request: pytest.FixtureRequest) -> list[str]:
    text = (REPOSITORY / DOCKERFILES[request.param]).read_text()
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def test_it_begins_with_whatever_debian_it_is_given(lines: list[str]) -> None:
    assert lines[0] == "ARG BASE=debian:trixie-slim"
    assert [line.split(" AS ")[0] for line in lines if line.startswith("FROM")] == ["FROM ${BASE}"] * 2


def test_it_names_no_host(lines: list[str]) -> None:
    assert not re.search(r"://|\.(com|org|io|dev|net)\b", "\n".join(lines))


def test_what_is_installed_is_named_by_version_and_hash(lines: list[str]) -> None:
    text = re.sub(r" \\\n\s*", " ", "\n".join(lines))
    installs = [part for part in re.split(r"&&|\n", text) if re.search(r"\b(pip|npm|uv) .*install\b", part)]
    installs = [part for part in installs if "uninstall" not in part]
    assert installs and all("--require-hashes --no-deps --only-binary :all:" in part for part in installs)
    for fetched in re.findall(r"npm pack .*", text):
        assert "${PNPM}" in fetched and "sha512sum --check" in fetched


def test_its_user_is_nobody_in_particular(lines: list[str]) -> None:
    assert [line for line in lines if line.startswith("USER")] == ["USER 1000:1000"]
