"""What each role may do, in full: whoever adds a right adds it here."""

import json
from typing import Any

import pytest

from tests.infra.roles import grants, plain
from tests.infra.stacks import of_type, properties, template

pytestmark = pytest.mark.infra

IN_CLUSTER = "if ecs:cluster = <Cluster>"
TASKS = "ecs:<Region>:<AccountId>:task/<Cluster>/*"
DEFINITION = "ecs:<Region>:<AccountId>:task-definition/opensessionsSandboxTask57DF64AB:*"

MODEL_KEYS = "secretsmanager:<Region>:<AccountId>:secret:opensessions/model-keys/*"
KEEP_MODEL_KEYS = {
    f"secretsmanager:{action} on {MODEL_KEYS}"
    for action in ("CreateSecret", "DeleteSecret", "DescribeSecret", "PutSecretValue")
}

READ = {"dynamodb:GetItem on <Table>", "dynamodb:Query on <Table>"}
READ_MANY = READ | {"dynamodb:BatchGetItem on <Table>"}
WRITE = {f"dynamodb:{action} on <Table>" for action in ("PutItem", "UpdateItem", "DeleteItem")}
PURGE = {"dynamodb:BatchWriteItem on <Table>"}
LIST = {f"dynamodb:Query on <Table>/index/{index}" for index in ("by_account", "by_user", "due")}
LIST_OBJECTS = {"s3:ListBucket on <Bucket>", "s3:ListBucketVersions on <Bucket>"}
DELIVER = {"sqs:SendMessage on <FunctionsDeliveries>"}
SEND = {"sqs:SendMessage on <FunctionsTasks>"} | DELIVER
TRACE = {"xray:PutTelemetryRecords on *", "xray:PutTraceSegments on *"}
STOP = {f"ecs:ListTasks on * {IN_CLUSTER}", f"ecs:StopTask on {TASKS} {IN_CLUSTER}"}
LAUNCH = {
    f"ecs:RunTask on {DEFINITION} {IN_CLUSTER}",
    "iam:PassRole on <SandboxTaskExecutionRole> if iam:PassedToService = ecs-tasks.amazonaws.com",
}
CONSUME = {
    f"sqs:{action} on <FunctionsTasks>"
    for action in (
        "ChangeMessageVisibility", "DeleteMessage", "GetQueueAttributes", "GetQueueUrl", "ReceiveMessage"
    )
}  # fmt: skip
PULL = {
    "ecr:GetAuthorizationToken on *",
    "ecr:BatchCheckLayerAvailability on <ImagesRepository>",
    "ecr:BatchGetImage on <ImagesRepository>",
    "ecr:GetDownloadUrlForLayer on <ImagesRepository>",
}
PUSH = {
    f"ecr:{action} on <ImagesRepository>"
    for action in ("CompleteLayerUpload", "InitiateLayerUpload", "PutImage", "UploadLayerPart")
}


def log(group: str) -> set[str]:
    return {f"logs:CreateLogStream on <{group}>", f"logs:PutLogEvents on <{group}>"}


def objects(*actions: str, beneath: tuple[str, ...] = ("sessions", "templates")) -> set[str]:
    return {f"s3:{action} on <Bucket>/{prefix}/*" for action in actions for prefix in beneath}


KEEP = LIST_OBJECTS | objects("GetObject", "PutObject", "DeleteObject", "DeleteObjectVersion")

EXPECTED = {
    "Functionsapirole": READ_MANY | WRITE | LIST | PURGE | TRACE | STOP | LAUNCH | SEND | KEEP
    | KEEP_MODEL_KEYS | log("Functionsapilogs"),
    "Functionscallbackrole": READ_MANY | WRITE | SEND | KEEP | log("Functionscallbacklogs"),
    "Functionstaskstaterole": READ_MANY | WRITE | TRACE | STOP | LAUNCH | SEND | CONSUME
    | log("Functionstaskstatelogs"),
    "Functionsdeliverrole": READ | WRITE | DELIVER
    | {right.replace("Tasks", "Deliveries") for right in CONSUME} | log("Functionsdeliverlogs"),
    "Functionssweeprole": READ_MANY | WRITE | LIST | PURGE | STOP | SEND | LIST_OBJECTS
    | objects("DeleteObject", "DeleteObjectVersion", beneath=("sessions",))
    | log("Functionssweeplogs") | {f"ecs:DescribeTasks on {TASKS} {IN_CLUSTER}"},
    "GatewayTaskTaskRole": READ | objects("GetObject", "PutObject")
    | {
        f"ecs:GetTaskProtection on {TASKS} {IN_CLUSTER}",
        f"ecs:UpdateTaskProtection on {TASKS} {IN_CLUSTER}",
        "lambda:InvokeFunction on <FunctionsCallback>",
        "secretsmanager:GetSecretValue on <SecretsMasterKey>",
        "secretsmanager:GetSecretValue on <SecretsModelKey>",
        f"secretsmanager:GetSecretValue on {MODEL_KEYS}",
    },
    "GatewayTaskExecutionRole": PULL | log("GatewayLogs"),
    "SandboxTaskExecutionRole": PULL,
    "ImagesstartedServiceRole": {
        "managed AWSLambdaBasicExecutionRole", "codebuild:StartBuild on <ImagesProject>"
    },
    "ImagescompletedServiceRole": {
        "managed AWSLambdaBasicExecutionRole", "codebuild:BatchGetBuilds on <ImagesProject>"
    },
}  # fmt: skip
OF_THE_CDK = {
    "AWS679f53fac002430cb0da5b7982bd2287ServiceRole": {
        "ec2:DescribeManagedPrefixLists on *", "managed AWSLambdaBasicExecutionRole"
    },
}  # fmt: skip


def test_every_role_may_do_what_is_listed_and_no_more() -> None:
    found = grants(template(images="build"))
    framework = {name for name in found if name.startswith("ImagesProvider")}
    assert set(found) == {*EXPECTED, *OF_THE_CDK, *framework, "ImagesProjectRole"}
    for role, rights in {**EXPECTED, **OF_THE_CDK}.items():
        assert found[role] == rights, role


def test_the_build_writes_images_and_its_log_and_reads_its_sources() -> None:
    rights = grants(template(images="build"))["ImagesProjectRole"]
    assert rights >= PULL | PUSH | log("ImagesLogs")
    rest = {right for right in rights if not right.startswith(("ecr:", "logs:"))}
    assert rest
    assert all(right.startswith("s3:") and "cdk-hnb659fds-assets" in right for right in rest)
    objects = {right for right in rest if right.startswith("s3:GetObject*") and "/" in right}
    assert all(right.endswith(".zip") for right in objects), "one object, not the bucket of all stacks"


def test_bedrock_is_called_by_the_gateways_role_and_no_model_key_exists() -> None:
    made = template(model="bedrock")
    models = {
        f"bedrock:{action} on {model}"
        for action in ("InvokeModel", "InvokeModelWithResponseStream")
        for model in (
            "bedrock:*::foundation-model/anthropic.*",
            "bedrock:<Region>:<AccountId>:inference-profile/*",
        )
    }
    keys = {f"secretsmanager:GetSecretValue on {name}" for name in ("<SecretsModelKey>", MODEL_KEYS)}
    rights = EXPECTED["GatewayTaskTaskRole"] - keys
    assert grants(made)["Functionsapirole"] == EXPECTED["Functionsapirole"] - KEEP_MODEL_KEYS
    assert grants(made)["GatewayTaskTaskRole"] == rights | models
    assert [plain(name) for name in of_type(made, "AWS::SecretsManager::Secret")] == ["SecretsMasterKey"]


def test_callback_launches_nothing() -> None:
    """It says what is to be launched; `task_state` looks whether the session wants it."""
    rights = grants(template())["Functionscallbackrole"]
    assert not [right for right in rights - SEND if right.startswith(("ecs:", "iam:", "sqs:", "secrets"))]


def test_a_gateway_deletes_and_lists_nothing() -> None:
    rights = grants(template())["GatewayTaskTaskRole"]
    assert not [
        right for right in rights if "Delete" in right or "List" in right or right.endswith("<Bucket>")
    ]


def test_a_restored_table_is_granted_by_its_name() -> None:
    made = template(table_name="restored")
    assert not of_type(made, "AWS::DynamoDB::GlobalTable")
    found = grants(made)
    table = "dynamodb:<Region>:<AccountId>:table/restored"
    wanted = {right.replace("<Table>", table) for right in EXPECTED["Functionsapirole"]}
    assert found["Functionsapirole"] == wanted


def test_wildcards_have_a_reason() -> None:
    """`*` as a resource is for actions that take none; each of them is named here with AWS's rule."""
    no_resource = {
        "ecr:GetAuthorizationToken",  # is for the whole registry
        "ecs:ListTasks",  # takes a container instance, which Fargate has not; bound by a condition
        "ec2:DescribeManagedPrefixLists",
        "xray:PutTelemetryRecords",
        "xray:PutTraceSegments",
    }
    for role, rights in grants(template()).items():
        stars = {
            right.split(" on ")[0] for right in rights if right.split(" on ")[-1].split(" if ")[0] == "*"
        }
        assert stars <= no_resource, role
        assert not [right for right in rights if right.split(" on ")[0].endswith(":*")], role


def test_roles_are_assumed_by_services_alone() -> None:
    for role in properties(template(), "AWS::IAM::Role"):
        for statement in role["AssumeRolePolicyDocument"]["Statement"]:
            assert set(statement["Principal"]) == {"Service"}, json.dumps(statement)


def test_no_policy_of_a_resource_lets_everybody_in() -> None:
    made = template()
    kinds = ("AWS::S3::BucketPolicy", "AWS::SQS::QueuePolicy", "AWS::SNS::TopicPolicy")
    documents = [part["PolicyDocument"] for kind in kinds for part in properties(made, kind)]
    assert len(documents) >= 4
    for statement in (statement for document in documents for statement in document["Statement"]):
        assert statement["Effect"] == "Deny" or _bound(statement), json.dumps(statement)
    for permission in properties(made, "AWS::Lambda::Permission"):
        assert permission["Principal"] in ("apigateway.amazonaws.com", "events.amazonaws.com")
    assert not of_type(made, "AWS::Lambda::Url")


def _bound(statement: dict[str, Any]) -> bool:
    return "Service" in statement["Principal"] and "Condition" in statement
