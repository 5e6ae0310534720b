"""A Docker client in small: tasks are containers of Podman's, of the real images, in a network apart."""

import logging
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.images.podman import podman, said
from tests.rehearsal.emulator.containers import NAME, Container, Images
from tests.rehearsal.emulator.namespaces import PLACES, Member, remove
from tests.rehearsal.emulator.roles import credentials
from tests.rehearsal.emulator.tasks import Placement
from tests.rehearsal.emulator.vpc import RESOLVER, Vpc

LABEL = "opensessions.rehearsal"
"""Of every container; its value is the id of the emulator's process."""

log = logging.getLogger(__name__)

_REGION = dict.fromkeys(("AWS_REGION", "AWS_DEFAULT_REGION"), "us-east-1")
_PAUSE = 5.0
"""Seconds after a start that failed: a service asks for the next one at once, for ever."""

_LIMITS = {"nofile": "20000:20000", "nproc": "4096:4096"}
"""Podman's own choices, which are lost when one is made."""

Kwargs = Mapping[str, Any]


class Running(Container):
    """A container that Podman runs. When it ends it is removed, and then `gone` is called."""

    def __init__(
        self, image: str, kwargs: Kwargs, member: Member, words: Sequence[str], gone: Callable[[], None]
    ):
        super().__init__(image, kwargs, member.addresses[0])
        self._gone, self._over, self._said = gone, threading.Event(), b""
        self.id = podman("run", "--detach", *words).strip()
        threading.Thread(target=self._wait, name=self.name, daemon=True).start()

    def _wait(self) -> None:
        code = podman("wait", self.id, check=False).strip()
        self._said = self.logs()
        podman("rm", "--force", "--volumes", "--time=0", "--ignore", self.id, check=False)
        log.info(
            "%s ended with status %s and had said:\n%s", self.name, code, self._said.decode(errors="replace")
        )
        self._gone()
        self.code, self.status = int(code or 137), "exited"
        self._over.set()

    def logs(self, **options: Any) -> Any:
        if options.get("stream"):
            return iter(())
        return self._said or said(self.id).encode()

    def kill(self, number: int = signal.SIGKILL) -> None:
        podman("kill", f"--signal={number}", self.id)

    def stop(self, timeout: float = 10) -> None:
        if not self._over.is_set():
            podman("stop", f"--time={int(timeout)}", "--ignore", self.id, check=False)
            self.wait_for_end(timeout + 10)

    def wait_for_end(self, seconds: float) -> None:
        self._over.wait(seconds)


class Podman:
    """`containers` and `images` are all that ministack uses of a client. `port` is its own, `model` where the
    model is. Close it at the end.
    """

    def __init__(self, port: int, model: str) -> None:
        _clear()
        self.vpc, self._all, self._closed = Vpc(port, model), dict[str, Container](), False

    @property
    def calls(self) -> Mapping[str, Callable[[dict[str, Any]], Any]]:
        """For the tests: `/balancer` → `{"address", "namespace"}`, see `Vpc`; security groups are read anew.
        `/said` → what gateways have logged.
        """
        return {"/balancer": self._balancer, "/said": self._said}

    @property
    def containers(self) -> "Podman":
        return self

    @property
    def images(self) -> Images:
        return Images()

    def get(self, wanted: str) -> Container:
        return self._all[wanted]

    def list(self, **options: Any) -> list[Container]:
        return [each for each in self._all.values() if options.get("all") or each.status == "running"]

    def run(self, image: str, **kwargs: Any) -> Container:
        if self._closed:  # a service wants another task for each that ends
            time.sleep(_PAUSE)
            raise RuntimeError("the emulator ends")
        place, name = kwargs["placement"], kwargs["labels"][NAME]
        assert isinstance(place, Placement)
        member = self.vpc.attach(name, str(place), place.groups, place.public_ip)
        told = {**kwargs["environment"], **self._instead(name, kwargs["task"])}
        words = [*_options(kwargs), *_variables(told), *_network(member), image.split("@")[0]]
        try:
            made = Running(
                image, {**kwargs, "environment": told}, member, words, lambda: self.vpc.detach(member)
            )
        except BaseException:
            self.vpc.detach(member)
            time.sleep(_PAUSE)
            raise
        self._all[made.id] = made
        return made

    def _instead(self, name: str, task: Kwargs) -> dict[str, str]:
        """What is different from AWS, for a task that speaks to it."""
        if not (role := task.get("taskRoleArn")):
            return {}
        where = {"AWS_ENDPOINT_URL": self.vpc.aws, **_REGION, "MODEL_URL": self.vpc.model}
        return {**where, **credentials(role, name), "AWS_CONTAINER_CREDENTIALS_FULL_URI": ""}

    def _balancer(self, body: object) -> dict[str, Any]:
        self.vpc.reload()
        return {"address": self.vpc.balancer, "namespace": self.vpc.balancer_namespace}

    def _said(self, body: object) -> str:
        tasks = [each for each in self.list(all=True) if each.labels[NAME] == "gateway"]
        return "\n".join(each.logs().decode(errors="replace") for each in tasks)

    def close(self) -> None:
        self._closed = True
        running = [each for each in self.list() if isinstance(each, Running)]
        if running:
            podman("rm", "--force", "--volumes", "--time=0", *(each.id for each in running), check=False)
        for each in running:
            each.wait_for_end(10)
        self.vpc.close()


def _options(kwargs: Kwargs) -> Iterator[str]:
    """What the definitions of the container and its task say, in Podman's words."""
    definition, task = kwargs["definition"], kwargs["task"]
    linux = definition.get("linuxParameters") or {}
    yield f"--name={kwargs['name']}"
    yield f"--label={LABEL}={os.getpid()}"
    yield f"--user={definition['user']}"
    yield f"--memory={task['memory']}m"
    yield f"--cpus={int(task['cpu']) / 1024}"
    if definition.get("readonlyRootFilesystem"):
        yield from ("--read-only", "--read-only-tmpfs=false")
    if linux.get("initProcessEnabled"):
        yield "--init"
    for capability in (linux.get("capabilities") or {}).get("drop", ()):
        yield f"--cap-drop={capability}"
    asked = {
        each["name"]: f"{each['softLimit']}:{each['hardLimit']}" for each in definition.get("ulimits") or ()
    }
    for name, limit in {**_LIMITS, **asked}.items():
        yield f"--ulimit={name}={limit}"


def _variables(told: Mapping[str, str]) -> list[str]:
    return [f"--env={name}={value}" for name, value in told.items() if value]


def _network(member: Member) -> tuple[str, ...]:
    return f"--network=ns:{PLACES / member.namespace}", f"--dns={RESOLVER}", "--dns-search=."


def _clear() -> None:
    """Take away what emulators that were killed have left behind."""
    listed = podman(
        "ps", "--all", f"--filter=label={LABEL}", f'--format={{{{.ID}}}} {{{{index .Labels "{LABEL}"}}}}'
    )
    for line in listed.splitlines():
        container, process = line.split()
        if not _lives(process):
            podman("rm", "--force", "--volumes", "--time=0", container, check=False)
    for place in PLACES.glob("osr*") if PLACES.exists() else ():
        found = re.fullmatch(r"osr(\d+)(-\d+)?", place.name)
        if found and not _lives(found[1]):
            remove(place.name)


def _lives(process: str) -> bool:
    return Path("/proc", process).exists()
