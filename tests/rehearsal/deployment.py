"""The real stack, synthesised, deployed and destroyed by the real tools, against the emulator."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from infra import QUIET
from tests.e2e.server import REPO
from tests.rehearsal.emulator_process import ACCOUNT, REGION, Emulator

STACK = "opensessions"
PREVIEWS = "previews.example.com"
CDK = REPO / ".cache" / "cdk" / "node_modules" / ".bin" / "cdk"
CONTEXT: Mapping[str, str] = {
    "bundle": "host",
    "images": "registry.example.com/opensessions:1",
    "previews": "domain",
    "preview_domain": PREVIEWS,
}


@dataclass(frozen=True)
class Stack:
    """One that is deployed."""

    emulator: Emulator
    name: str
    outputs: Mapping[str, str]

    def put_model_key(self, key: str) -> None:
        """As docs/deploy.md tells the operator to."""
        values = self.emulator.client("secretsmanager")
        values.put_secret_value(SecretId=self.outputs["ModelSecretName"], SecretString=key)


class Failed(Exception):
    """A command ended with an error; the text is what it said."""


class Deployment:
    """`times` are the seconds of each step. `context` comes on top of `CONTEXT`. In the
    environment `operator` the operator's commands (`make key`, `make deploy`) mean this deployment.
    """

    def __init__(self, emulator: Emulator, folder: Path, **context: str) -> None:
        self.emulator, self.folder = emulator, folder
        _use_of_ecs(emulator)
        self.context = {**CONTEXT, "preview_zone_id": _zone(emulator), **context}
        self.times: dict[str, float] = {}
        self.outputs: dict[str, str] = {}
        self.operator = {
            **emulator.environment,
            "CDK_HOME": str(folder),  # it remembers there which account a key belongs to
            "CONTEXT": " ".join(f"{name}={value}" for name, value in self.context.items()),
        }
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
            **self.operator,
            "CI": "1",
            "CDK_DISABLE_VERSION_CHECK": "1",
            **QUIET,
        }

    def synthesise(self, out: Path, **context: str) -> Path:
        """The stack as it is with `context` on top; returns the cloud assembly's folder."""
        file = json.loads((REPO / "cdk.json").read_text()).get("context", {})
        told = {
            "CDK_OUTDIR": str(out),
            "CDK_CONTEXT_JSON": json.dumps({**file, **self.context, **context}),
            "CDK_DEFAULT_ACCOUNT": ACCOUNT,
            "CDK_DEFAULT_REGION": REGION,
        }
        with self._timed("synth"):
            self._run(sys.executable, "-m", "infra.app", **told)
        return out

    def bootstrap(self) -> None:
        with self._timed("bootstrap"):
            self._run(str(CDK), "bootstrap", f"aws://{ACCOUNT}/{REGION}", "--app", "")

    def deploy(self, assembly: Path, step: str = "deploy") -> Stack:
        """Raises Failed with what the CLI said when the deployment was rolled back."""
        outputs = self.folder / "outputs.json"
        with self._timed(step):
            self._run(
                str(CDK), "deploy", STACK, "--app", str(assembly), "--require-approval", "never",
                "--progress", "events", "--outputs-file", str(outputs),
            )  # fmt: skip
        self.outputs = json.loads(outputs.read_text())[STACK]
        return Stack(self.emulator, STACK, self.outputs)

    def operate(self, *words: str, **more: str) -> str:
        """What the operator's command prints: `python -m infra.ops …`, with `more` in its environment."""
        pairs = [word for name, value in self.context.items() for word in ("-c", f"{name}={value}")]
        with self._timed(words[0]):
            return self._run(sys.executable, "-m", "infra.ops", *words, *pairs, **more)

    def first(self) -> tuple[Stack, str]:
        """All that docs/deploy.md tells a new operator to do; returns the stack, and a key for its API."""
        self.bootstrap()
        stack = self.deploy(self.synthesise(self.folder / "cdk.out"))
        key = self.operate("key", "--account", "rehearsal").strip()
        stack.put_model_key("sk-none")
        return stack, key

    def status(self) -> str | None:
        """CloudFormation's word for the stack; None when there is none."""
        formation = self.emulator.client("cloudformation")
        for page in formation.get_paginator("list_stacks").paginate():
            for each in page["StackSummaries"]:
                if each["StackName"] == STACK and each["StackStatus"] != "DELETE_COMPLETE":
                    return str(each["StackStatus"])
        return None

    @contextmanager
    def _timed(self, step: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.times[step] = round(time.monotonic() - began, 1)

    def _run(self, *words: str, **more: str) -> str:
        done = subprocess.run(
            words, cwd=REPO, env=self._environment | more, capture_output=True, text=True, timeout=300
        )
        if done.returncode:
            raise Failed(f"{' '.join(words[:4])}…\n{done.stdout[-6000:]}\n{done.stderr[-6000:]}")
        return done.stdout


def _zone(emulator: Emulator) -> str:
    """The operator's own zone, which must be there before."""
    route53 = emulator.client("route53")
    made = route53.create_hosted_zone(Name=PREVIEWS, CallerReference="rehearsal")
    return str(made["HostedZone"]["Id"]).rsplit("/", 1)[-1]


def _use_of_ecs(emulator: Emulator) -> None:
    """What its first use in an account leaves, and `make doctor` looks for."""
    emulator.client("iam").create_role(
        RoleName="AWSServiceRoleForECS",
        Path="/aws-service-role/ecs.amazonaws.com/",
        AssumeRolePolicyDocument='{"Version": "2012-10-17", "Statement": []}',
    )
