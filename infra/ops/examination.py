"""What would stop a deployment, found before it: each finding says what to do."""

import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence

from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, NoRegionError

from infra import costs
from infra.context import Context, ContextError
from infra.ops import choice, found
from infra.ops.account import Account, Deployment
from infra.ops.found import Finding, bad, good, unsure

NODE = 22
"""The oldest Node.js that the CDK still supports."""
OLDEST_BOOTSTRAP = 6
FEW = 10
"""Lambda's concurrency in a new account."""
Check = Callable[[Account, Context], Iterator[Finding]]


def run(account: Account, words: Sequence[str], tell: Callable[[str], None] = print) -> int:
    """Print all findings and the price of what was chosen. 1 when something would stop the deployment."""
    findings = list(examine(account, words))
    for finding in findings:
        tell(str(finding))
    wrong = sum(finding.level == "bad" for finding in findings)
    tell(f"\n{wrong} to be mended before `make deploy`." if wrong else "\nReady for `make deploy`.")
    return 1 if wrong else 0


def examine(account: Account, words: Sequence[str]) -> Iterator[Finding]:
    """In the order in which they are to be mended. What cannot be looked at without credentials is left."""
    try:
        context = choice.read(words)
    except ContextError as error:
        yield bad("What was chosen", str(error), "Mend it in cdk.context.json or among the -c options.")
        return
    yield from tools(context)
    reached = list(_guarded("Credentials", lambda: credentials(account)))
    yield from reached
    if not any(finding.level == "bad" for finding in reached):
        checks: dict[str, Check] = {
            "CDK bootstrap": bootstrap,
            "Quota of Fargate": fargate,
            "Quota of Lambda": concurrency,
            "ECS's role": ecs_role,
            "Hosted zones": zones,
            "Table": found.table,
            "Bedrock": found.bedrock,
        }
        for name, check in checks.items():
            yield from _guarded(name, lambda check=check: check(account, context))  # type: ignore[misc]
        deployment = Deployment(account, choice.stack(words))
        yield from _guarded("Stack", lambda: found.stack(deployment, context))
    yield price(context)


def _guarded(name: str, check: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """A check that may not be carried out stops neither the others nor the deployment."""
    try:
        yield from check()
    except ClientError as error:
        code, operation = error.response["Error"]["Code"], error.operation_name
        yield unsure(name, f"{operation} was answered {code}", "Look yourself, or allow it to who deploys.")
    except BotoCoreError as error:
        yield unsure(name, f"AWS was not reached: {error}", "Look at the network and at AWS_ENDPOINT_URL.")


def tools(context: Context, which: Callable[[str], str | None] = shutil.which) -> Iterator[Finding]:
    """What the machine that deploys needs."""
    node = which("node")
    if not node:
        yield bad("Node.js", "it is not installed", f"Install Node.js {NODE} or newer, for the CDK.")
    else:
        said = subprocess.run([node, "--version"], capture_output=True, text=True).stdout.strip()
        old = int(said.removeprefix("v").split(".")[0] or 0) < NODE
        hint = f"It works today, but is out of support: install {NODE} or newer."
        yield unsure("Node.js", said, hint) if old else good("Node.js", said)
    if context.images == "asset" and not which("docker"):
        yield bad(
            "Docker", "images=asset needs it, and it is not here", "Choose images=build, or install it."
        )


def credentials(account: Account) -> Iterator[Finding]:
    """Who deploys, and where to."""
    if not account.region:
        yield bad("Region", "none is set", "export AWS_REGION=us-east-1, or another one.")
        return
    try:
        caller = account.client("sts").get_caller_identity()
    except (NoCredentialsError, NoRegionError):
        yield bad("Credentials", "there are none", "Run `aws configure sso`, or set AWS_PROFILE.")
        return
    except ClientError as error:
        code = error.response["Error"]["Code"]
        yield bad("Credentials", f"AWS refuses them ({code})", "Sign in again: `aws sso login`.")
        return
    yield good("Credentials", f"{caller['Arn']} in {account.region}")
    if caller["Arn"].endswith(":root"):
        yield unsure("Credentials", "these are the root user's", "Use a role of an administrator instead.")


def bootstrap(account: Account, context: Context) -> Iterator[Finding]:
    name = "/cdk-bootstrap/hnb659fds/version"
    to_do = "`make deploy` does that first; whoever deploys must be allowed to make roles and a bucket."
    try:
        version = account.client("ssm").get_parameter(Name=name)["Parameter"]["Value"]
    except ClientError as error:
        if error.response["Error"]["Code"] != "ParameterNotFound":
            raise
        yield unsure("CDK bootstrap", "this account and region never saw the CDK", to_do)
        return
    old = int(version) < OLDEST_BOOTSTRAP
    said = f"version {version}"
    yield unsure("CDK bootstrap", f"{said} is old", to_do) if old else good("CDK bootstrap", said)


def fargate(account: Account, context: Context) -> Iterator[Finding]:
    answer = account.client("service-quotas").get_service_quota(ServiceCode="fargate", QuotaCode="L-3032A538")
    vcpu = answer["Quota"]["Value"]
    gateway = costs.running(context.network, context.previews, context.size)["fargate_vcpu_hour"]
    fit = int((vcpu - 2 * gateway) / costs.SANDBOX_VCPU)
    said = f"{vcpu:g} vCPU: {max(fit, 0)} sandboxes at once, beside the gateway and its successor"
    ask = "Ask for more: Service Quotas, AWS Fargate, `Fargate On-Demand vCPU resource count` (L-3032A538)."
    if fit < 1:
        yield bad("Quota of Fargate", said, ask)
    else:
        yield unsure("Quota of Fargate", said, ask) if fit < 20 else good("Quota of Fargate", said)


def concurrency(account: Account, context: Context) -> Iterator[Finding]:
    limit = account.client("lambda").get_account_settings()["AccountLimit"]["ConcurrentExecutions"]
    ask = "Ask for more: Service Quotas, AWS Lambda, `Concurrent executions` (L-B99A9384); 1,000 is usual."
    said = f"{limit} functions at once"
    few = limit <= FEW
    yield unsure("Quota of Lambda", said, ask) if few else good("Quota of Lambda", said)


def ecs_role(account: Account, context: Context) -> Iterator[Finding]:
    try:
        account.client("iam").get_role(RoleName="AWSServiceRoleForECS")
    except ClientError as error:
        if error.response["Error"]["Code"] != "NoSuchEntity":
            raise
        make = "aws iam create-service-linked-role --aws-service-name ecs.amazonaws.com"
        yield bad("ECS's role", "this account never used ECS, and the first service would fail", make)
        return
    yield good("ECS's role", "AWSServiceRoleForECS is there")


def zones(account: Account, context: Context) -> Iterator[Finding]:
    """Each name lies in a public zone of this account, or its certificate is waited for in vain."""
    chosen = ((context.domain, context.hosted_zone_id), (context.preview_domain, context.preview_zone_id))
    for domain, zone_id in chosen:
        if domain and zone_id:
            yield from _guarded(f"Zone of {domain}", lambda d=domain, z=zone_id: _zone(account, d, z))  # type: ignore[misc]


def _zone(account: Account, domain: str, zone_id: str) -> Iterator[Finding]:
    name = f"Zone of {domain}"
    try:
        zone = account.client("route53").get_hosted_zone(Id=zone_id)["HostedZone"]
    except ClientError as error:
        if error.response["Error"]["Code"] != "NoSuchHostedZone":
            raise
        yield bad(
            name, f"there is no {zone_id} in this account", "`aws route53 list-hosted-zones` lists them."
        )
        return
    covered = zone["Name"].rstrip(".")
    if zone.get("Config", {}).get("PrivateZone"):
        yield bad(name, f"{zone_id} is private", "Name a public zone: certificates are proved there.")
    elif domain != covered and not domain.endswith(f".{covered}"):
        yield bad(name, f"{zone_id} is {covered}'s", f"Name the zone that {domain} lies in.")
    else:
        yield good(name, f"{zone_id}, {covered}")


def price(context: Context) -> Finding:
    idle = costs.total(costs.idle(context.network, context.previews, context.size, context.model))
    hour = costs.hour(context.network)
    chosen = f"network={context.network} previews={context.previews} size={context.size}"
    return good("Price", f"{chosen}: ${idle:.0f} a month idle, ${hour:.3f} for a sandbox's hour (us-east-1)")
