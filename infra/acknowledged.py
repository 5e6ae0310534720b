"""What cdk-nag's AwsSolutions pack asks for and is not done here, part by part, each with the reason."""

import re
from collections.abc import Iterator, Mapping

import aws_cdk as cdk
from constructs import IConstruct

_COST = "It would cost more than it tells a small installation; an operator can switch it on."
_SECRET_PATHS = "The paths of previews are their visitors' secrets; API Gateway logs the API's requests."
_OWN_KEYS = "API keys are ours, kept as hashes in the table; the API function and the gateway check them."
_FRAMEWORK = "CDK's own function, which waits for the images; it may call our two functions in any version."
_BUILD_LOG = "Builds write to a log group that is named after the project."
_BOUND = "Tasks have random ids; the statement is bound to this cluster."
_NAMED = "Objects are named after sessions and templates."
_TRIAL = "One name to try the product with; who has a domain serves previews without it."
_MODELS = "Any model of the provider, in whatever region its inference profile spreads over."
_OWN_MODEL_KEYS = "Accounts put in model keys of their own, each a secret below this stack's prefix."
_PYTHON = "The locked wheels are tested for this Python; Lambda supports it until 2029."

ACKNOWLEDGED: Mapping[str, Mapping[str, str]] = {
    "Api": {
        "APIG2": "The function validates each body and names the field; API Gateway could not.",
        "APIG3": "A WAF costs more than the rest; the stage throttles, and accounts have quotas.",
        "APIG4": _OWN_KEYS,
        "APIG6": "The access log has each request; execution logs would hold keys and prompts.",
        "COG4": _OWN_KEYS,
    },
    "Bucket": {"S1": _COST},
    "Cluster": {"ECS4": _COST},
    "Edge": {
        "CFR1": "Previews are for whoever has their address.",
        "CFR2": "A WAF would judge what the previewed app is sent, which is not ours to judge.",
        "CFR3": _SECRET_PATHS,
        "CFR4": f"CloudFront's own certificate allows no other. {_TRIAL}",
        "IAM5[Resource::*]": "Lists of addresses are AWS's and have no resource of ours to name.",
    },
    "Functions": {
        "IAM5[Resource::*]": "X-Ray and ListTasks take no resource; the latter is bound to this cluster.",
        "IAM5[Resource::<{Bucket/Bucket}.Arn>/sessions/*]": _NAMED,
        "IAM5[Resource::<{Bucket/Bucket}.Arn>/templates/*]": _NAMED,
        "IAM5[Resource::{arn}:ecs:{here}:task-definition/{family}:*]": "Any revision of the one definition.",
        "IAM5[Resource::{arn}:ecs:{here}:task/<{Cluster}>/*]": _BOUND,
        "IAM5[Resource::{arn}:secretsmanager:{here}:secret:{stack}/model-keys/*]": _OWN_MODEL_KEYS,
        "L1": _PYTHON,
    },
    "Gateway": {
        "ECS2": "Nothing in its environment is secret: secrets are read at run time, by name.",
        "ELB2": _SECRET_PATHS,
        "IAM5[Resource::*]": "ECR's GetAuthorizationToken takes no resource.",
        "IAM5[Resource::<{Bucket/Bucket}.Arn>/sessions/*]": _NAMED,
        "IAM5[Resource::<{Bucket/Bucket}.Arn>/templates/*]": _NAMED,
        "IAM5[Resource::{arn}:bedrock:*::foundation-model/anthropic.*]": _MODELS,
        "IAM5[Resource::{arn}:bedrock:{here}:inference-profile/*]": _MODELS,
        "IAM5[Resource::{arn}:secretsmanager:{here}:secret:{stack}/model-keys/*]": _OWN_MODEL_KEYS,
        "IAM5[Resource::{arn}:ecs:{here}:task/<{Cluster}>/*]": _BOUND,
    },
    "Images": {
        "CB4": "Nothing of the build is secret, and its images are encrypted by ECR.",
        "IAM4[Policy::{arn}:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole]": _FRAMEWORK,
        "IAM5[Action::s3:GetBucket*]": "CDK's grant to read the one object with the sources.",
        "IAM5[Action::s3:GetObject*]": "CDK's grant to read the one object with the sources.",
        "IAM5[Action::s3:List*]": "CDK's grant to read the one object with the sources.",
        "IAM5[Resource::*]": "ECR's GetAuthorizationToken and X-Ray take no resource.",
        "IAM5[Resource::<{Images/Provider/framework-isComplete}.Arn>:*]": _FRAMEWORK,
        "IAM5[Resource::<{Images/Provider/framework-onTimeout}.Arn>:*]": _FRAMEWORK,
        "IAM5[Resource::<{Images/completed}.Arn>:*]": _FRAMEWORK,
        "IAM5[Resource::<{Images/started}.Arn>:*]": _FRAMEWORK,
        "IAM5[Resource::{arn}:logs:{here}:log-group:/aws/codebuild/<{Images/Project}>:*]": _BUILD_LOG,
        "L1": _PYTHON,
        "SF1": "CDK's own state machine, which runs for minutes and only when the images change.",
        "SF2": "CDK's own state machine, which runs for minutes and only when the images change.",
    },
    "Network": {
        "EC23": "The load balancer is there for the public: previews and event streams, over TLS.",
        "IAM5[Resource::*]": "Lists of addresses are AWS's and have no resource of ours to name.",
        "VPC7": "Flow logs grow with what strangers' sandboxes send; an operator can switch them on.",
    },
    "Sandbox": {
        "ECS2": "It holds addresses alone.",
        "ECS7": "What a sandbox prints is a stranger's, and would be paid for by the byte.",
        "IAM5[Resource::*]": "ECR's GetAuthorizationToken takes no resource.",
    },
    "Secrets": {"SMG4": "Rotated by hand: a new model key comes from its provider; docs/deploy.md says how."},
    "AWS679f53fac002430cb0da5b7982bd2287": {
        "IAM4[Policy::{arn}:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole]": (
            "CDK's own function, which looks AWS's lists of addresses up."
        )
    },
}


def acknowledge(stack: cdk.Stack, *, family: str) -> None:
    """Tell the validations of every part that is there. `family` is the sandbox's task definition's."""
    here = "<AWS::Region>:<AWS::AccountId>"
    known = {"arn": "arn:<AWS::Partition>", "here": here, "family": family, "stack": stack.stack_name}
    for part, rules in ACKNOWLEDGED.items():
        if scope := _found(stack, part):
            for rule, reason in _exact(stack, rules, known):
                cdk.Validations.of(scope).acknowledge(cdk.Acknowledgment(id=rule, reason=reason))


def _exact(stack: cdk.Stack, rules: Mapping[str, str], known: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for rule, reason in rules.items():
        for path in re.findall(r"\{(.+?)\}", rule):
            rule = rule.replace(f"{{{path}}}", known.get(path) or _logical_id(stack, path))
        yield f"AwsSolutions::AwsSolutions-{rule}", reason


def _logical_id(stack: cdk.Stack, path: str) -> str:
    found = _found(stack, path)
    made = found.node.default_child if found else None
    return stack.get_logical_id(made) if isinstance(made, cdk.CfnElement) else "not in this stack"


def _found(stack: cdk.Stack, path: str) -> IConstruct | None:
    found: IConstruct | None = stack
    for name in filter(None, path.split("/")):
        found = found.node.try_find_child(name) if found else None
    return found
