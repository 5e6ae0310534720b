"""Deploys a template as it is given, and has it do its job once."""

import json
import secrets
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx2

from opensessions.aws.keyring import DynamoKeyring
from opensessions.local.demo_model.app import create_demo_model
from tests.e2e.target import until
from tests.fakes import open_account
from tests.rehearsal.assembly import Template, template
from tests.rehearsal.deployment import STACK, Deployment, Stack
from tests.rehearsal.emulator_process import Emulator
from tests.rehearsal.quick import QuickSystem
from tests.rehearsal.served import Served
from tests.rehearsal.system import System

_PATIENCE = 30
_BUCKET = "templates"


class Trials:
    """One emulator for many templates, each of which is deployed, tried and deleted."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._emulator = Emulator(folder / "emulator.log")
        self._model = Served(create_demo_model())
        deployment = Deployment(self._emulator, folder)
        deployment.bootstrap()
        self._assembly = deployment.synthesise(folder / "cdk.out")
        deployment.deploy(self._assembly)  # its assets are in their bucket now
        self._formation = self._emulator.client("cloudformation")
        self._delete(STACK)
        self._emulator.client("s3").create_bucket(Bucket=_BUCKET)

    def __enter__(self) -> "Trials":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._emulator.stop()
        self._model.close()

    def template(self) -> Template:
        """The sound one; a copy."""
        return template(self._assembly)

    def run(self, body: Template) -> list[str]:
        """Nothing, or what did not work, in words."""
        name = f"trial-{secrets.token_hex(4)}"
        self._emulator.client("s3").put_object(Bucket=_BUCKET, Key=name, Body=json.dumps(body).encode())
        try:
            stack = self._deploy(name)
            if isinstance(stack, str):
                return [stack]
            keyring = DynamoKeyring(stack.outputs["TableName"], self._emulator.client("dynamodb"))
            key = open_account(keyring, "rehearsal")
            stack.put_model_key("sk-none")
            return self._try(stack, key)
        except Exception as error:
            return [f"{type(error).__name__}: {error}"]
        finally:
            self._delete(name)

    def _try(self, stack: Stack, key: str) -> list[str]:
        system = QuickSystem(stack, key, self._model.address, self._folder, gateways=1)
        try:
            job(system)
        except (AssertionError, httpx2.HTTPError, KeyError) as error:
            return [f"{type(error).__name__}: {error}"]
        finally:
            self._emulator.tell("/knobs", capacity=0, hurried=0)
            system.close()
        return []

    def _deploy(self, name: str) -> Stack | str:
        try:
            self._formation.create_stack(
                StackName=name,
                TemplateURL=f"{self._emulator.url}/{_BUCKET}/{name}",
                Capabilities=["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM"],
            )
        except self._formation.exceptions.ClientError as error:
            return str(error)
        until(lambda: not self._described(name)["StackStatus"].endswith("IN_PROGRESS"), 60)
        described = self._described(name)
        if described["StackStatus"] != "CREATE_COMPLETE":
            events = self._formation.describe_stack_events(StackName=name)["StackEvents"]
            reasons = [each["ResourceStatusReason"] for each in reversed(events) if _failed(each)]
            return str([*reasons, described.get("StackStatusReason", described["StackStatus"])][0])
        outputs = {each["OutputKey"]: each["OutputValue"] for each in described["Outputs"]}
        return Stack(self._emulator, name, outputs)

    def _described(self, name: str) -> dict[str, Any]:
        return dict(self._formation.describe_stacks(StackName=name)["Stacks"][0])

    def _delete(self, name: str) -> None:
        self._formation.delete_stack(StackName=name)
        until(lambda: self._is_gone(name), 60)

    def _is_gone(self, name: str) -> bool:
        try:
            return bool(self._described(name)["StackStatus"].startswith("DELETE_"))
        except self._formation.exceptions.ClientError:
            return True


def _failed(event: dict[str, Any]) -> bool:
    return str(event["ResourceStatus"]).endswith("FAILED") and bool(event.get("ResourceStatusReason"))


def job(system: System) -> None:
    """An app is built and visited; its sandbox dies, and the session sleeps; another waits for capacity."""
    session = system.create("Build a counter app")
    first = next(system.stream(session, seconds=_PATIENCE))
    assert first["type"] == "session_started"
    _is(system, session, "ready")
    assert system.preview(session).status_code == 200
    listed = system.http.get("/v1/sessions", params={"user_id": session["userId"]}).json()["data"]
    assert [each["id"] for each in listed] == [session["id"]]
    system.emulator.tell("/kill", sandbox=session["sandboxId"])
    until(lambda: system.get(session)["sandboxStatus"] == "hibernated", _PATIENCE)
    system.sweep()
    system.emulator.tell("/knobs", capacity=1, hurried=1)
    waiting = system.create("say 3 words")
    _is(system, waiting, "ready")
    for each in (waiting, session):
        system.delete(each)
        until(lambda each=each: system.running(each) == [], _PATIENCE)  # type: ignore[misc]


def _is(system: System, session: dict[str, Any], status: str) -> None:
    """Wait for a status; an error in its place is the end, unless it is what is waited for."""
    deadline = time.monotonic() + _PATIENCE
    while (now := system.get(session))["status"] != status:
        last = now["events"][-1]
        words = f"{now['status']} and not {status}: {last['type']}, {last['message']}"
        assert now["status"] != "error" and time.monotonic() < deadline, words
        time.sleep(0.1)
