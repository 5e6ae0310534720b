"""The stack, synthesised in this process: no credentials, no Docker, no bundling; once for each context."""

import json
import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infra.context import read

if TYPE_CHECKING:  # its runtime takes seconds to start, which tests of other things need not wait for
    from aws_cdk import App

ROOT = Path(__file__).parents[2]
ZONES = {"hosted_zone_id": "Z1", "preview_zone_id": "Z2"}
DOMAIN = {"domain": "api.example.com", "preview_domain": "previews.example.net", **ZONES}

Template = dict[str, Any]
Resource = dict[str, Any]


def template(**context: Any) -> Template:
    """A copy of one's own."""
    synthesised: Template = json.loads(_synthesised(tuple(sorted(_complete(context).items()))))
    return synthesised


def findings(**context: Any) -> list[str]:
    """What cdk-nag's AwsSolutions pack has against it, beyond what is acknowledged."""
    import aws_cdk as cdk
    from cdk_nag import AwsSolutionsChecks

    with tempfile.TemporaryDirectory() as folder:
        app = _app(folder, _complete(context))
        cdk.Validations.of(app).add_plugins(AwsSolutionsChecks())
        try:
            app.synth()
        except RuntimeError as error:
            if "Validation failed" not in str(error):
                raise
        report = json.loads((Path(folder) / "validation-report.json").read_text())
    return [
        f"{violation['ruleName']}: {construct['constructPath']}"
        for plugin in report["pluginReports"]
        for violation in plugin["violations"]
        for construct in violation["violatingConstructs"]
    ]


def of_type(template: Template, kind: str) -> dict[str, Resource]:
    """Resources of a type, by logical id."""
    return {name: made for name, made in template["Resources"].items() if made["Type"] == kind}


def properties(template: Template, kind: str) -> list[dict[str, Any]]:
    return [made.get("Properties", {}) for made in of_type(template, kind).values()]


def _complete(context: dict[str, Any]) -> dict[str, Any]:
    return {**(DOMAIN if context.get("previews") == "domain" else {}), **context}


@cache
def _synthesised(context: tuple[tuple[str, Any], ...]) -> str:
    with tempfile.TemporaryDirectory() as folder:
        app = _app(folder, dict(context))
        app.synth()
        return (Path(folder) / "opensessions.template.json").read_text()


def _app(folder: str, context: dict[str, Any]) -> "App":
    import aws_cdk as cdk

    from infra.stack import Opensessions

    written = json.loads((ROOT / "cdk.json").read_text())["context"]
    given = {**written, "aws:cdk:bundling-stacks": [], **context}
    app = cdk.App(outdir=folder, context=given, analytics_reporting=False)
    Opensessions(app, read(app.node.try_get_context))
    return app
