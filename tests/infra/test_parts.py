"""Part by part: the sandbox's task, the gateway's, the functions, the API, the alarms."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.infra.roles import plain
from tests.infra.stacks import ROOT, Template, of_type, properties, template

pytestmark = pytest.mark.infra

MEASURED = {"OldestUnlaunchedSeconds", "OrphanedTasks"}


def test_a_sandbox_has_no_role_no_root_no_log_and_nothing_to_keep_secret() -> None:
    task = _task(template(), "sandbox")
    [container] = task["ContainerDefinitions"]
    assert "TaskRoleArn" not in task
    assert container["ReadonlyRootFilesystem"] is True
    assert container["User"] == "1000:1000"
    assert "LogConfiguration" not in container
    assert "Secrets" not in container
    assert container["LinuxParameters"] == {"Capabilities": {"Drop": ["ALL"]}, "InitProcessEnabled": True}
    assert {mount["ContainerPath"] for mount in container["MountPoints"]} == {"/workspace", "/tmp"}
    assert task["RuntimePlatform"] == {"CpuArchitecture": "ARM64", "OperatingSystemFamily": "LINUX"}
    assert {variable["Name"] for variable in container["Environment"]} == {
        "GATEWAY_URL", "EGRESS_URL", "DOOR_PORT",
    }  # fmt: skip


@pytest.mark.parametrize("images", ["build", "asset", "registry.example.com/opensessions:1"])
def test_no_image_brings_a_role_back(images: str) -> None:
    made = template(images=images)
    assert "TaskRoleArn" not in _task(made, "sandbox")
    assert not [name for name in of_type(made, "AWS::IAM::Role") if plain(name) == "SandboxTaskTaskRole"]


def test_nobody_can_open_a_shell_in_a_task() -> None:
    [service] = properties(template(), "AWS::ECS::Service")
    assert service["EnableExecuteCommand"] is False
    assert "ssmmessages" not in json.dumps(template())


def test_the_gateway_drains_and_is_judged_by_its_health() -> None:
    made = template(previews="domain")
    [balancer] = properties(made, "AWS::ElasticLoadBalancingV2::LoadBalancer")
    attributes = {entry["Key"]: entry["Value"] for entry in balancer["LoadBalancerAttributes"]}
    assert attributes["routing.http.drop_invalid_header_fields.enabled"] == "true"
    assert attributes["routing.http.desync_mitigation_mode"] == "strictest"
    assert int(attributes["idle_timeout.timeout_seconds"]) >= 60
    [group] = properties(made, "AWS::ElasticLoadBalancingV2::TargetGroup")
    assert group["HealthCheckPath"] == "/healthz"
    kept = {entry["Key"]: entry["Value"] for entry in group["TargetGroupAttributes"]}
    assert int(kept["deregistration_delay.timeout_seconds"]) >= 120
    [service] = properties(made, "AWS::ECS::Service")
    assert service["DeploymentConfiguration"]["MinimumHealthyPercent"] == 100
    assert service["DeploymentConfiguration"]["DeploymentCircuitBreaker"] == {
        "Enable": True,
        "Rollback": True,
    }
    assert of_type(made, "AWS::ApplicationAutoScaling::ScalingPolicy")


def test_sandboxes_find_the_gateway_by_a_private_name() -> None:
    made = template()
    [service] = properties(made, "AWS::ServiceDiscovery::Service")
    [namespace] = properties(made, "AWS::ServiceDiscovery::PrivateDnsNamespace")
    [record] = service["DnsConfig"]["DnsRecords"]
    assert (service["Name"], namespace["Name"], record["Type"]) == ("gateway", "opensessions.internal", "A")


@pytest.mark.parametrize(("size", "tasks", "zones"), [("small", 1, 1), ("standard", 2, 2)])
def test_size_is_tasks_and_zones(size: str, tasks: int, zones: int) -> None:
    made = template(size=size)
    [service] = properties(made, "AWS::ECS::Service")
    assert service["DesiredCount"] == tasks
    interfaces = [e for e in properties(made, "AWS::EC2::VPCEndpoint") if e["VpcEndpointType"] == "Interface"]
    assert {len(endpoint["SubnetIds"]) for endpoint in interfaces} == {zones}


def test_each_file_is_a_function_and_the_reverse() -> None:
    files = {f"functions.{file.stem}.handler" for file in (ROOT / "functions").glob("[a-z]*.py")}
    ours = [
        f for f in properties(template(), "AWS::Lambda::Function") if f["Handler"].startswith("functions.")
    ]
    assert {function["Handler"] for function in ours} == files
    assert {function["Runtime"] for function in ours} == {"python3.13"}
    assert {tuple(function["Architectures"]) for function in ours} == {("arm64",)}
    assert len({json.dumps(function["Code"]) for function in ours}) == 1, "one bundle"
    assert not [function for function in ours if "VpcConfig" in function]


def test_what_is_called_from_a_queue_has_time_for_it() -> None:
    made = template()
    queues, functions = of_type(made, "AWS::SQS::Queue"), of_type(made, "AWS::Lambda::Function")
    called = {}
    for source in properties(made, "AWS::Lambda::EventSourceMapping"):
        assert source["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
        queue = queues[source["EventSourceArn"]["Fn::GetAtt"][0]]["Properties"]
        function = functions[source["FunctionName"]["Ref"]]["Properties"]
        assert queue["VisibilityTimeout"] >= 6 * function["Timeout"]
        called[function["Handler"]] = queue
    assert set(called) == {"functions.task_state.handler", "functions.deliver.handler"}
    assert len([queue for queue in queues.values() if "RedrivePolicy" in queue["Properties"]]) == len(called)


def test_receivers_that_stall_use_up_no_more_than_their_share() -> None:
    made = template()
    [source] = [
        each
        for each in properties(made, "AWS::Lambda::EventSourceMapping")
        if plain(each["FunctionName"]["Ref"]) == "FunctionsDeliver"
    ]
    assert (source["BatchSize"], source["ScalingConfig"]) == (1, {"MaximumConcurrency": 10})


def test_event_streams_and_files_go_to_the_gateway() -> None:
    for way in _streams(template(previews="domain")):
        assert way["Uri"].startswith("https://gateway.previews.example.net/v1/sessions/{id}/")
        assert "ConnectionType" not in way
    for previews in ("trial", "off"):
        for way in _streams(template(previews=previews)):
            assert way["ConnectionType"] == "VPC_LINK"
            assert way["IntegrationTarget"]["Ref"].startswith("GatewayBalancer")
        rewrite = properties(template(previews=previews), "AWS::ElasticLoadBalancingV2::ListenerRule")
        assert rewrite[0]["Transforms"][0]["UrlRewriteConfig"]["Rewrites"] == [
            {"Regex": "^/prod/(.*)$", "Replace": "/$1"}
        ]


def test_the_gateway_has_these_methods_and_their_bytes_as_they_are() -> None:
    made = template(previews="domain")
    ways = {
        (way["IntegrationHttpMethod"], way["Uri"].partition("{id}")[2]): way["RequestParameters"]
        for way in _streams(made)
    }
    asker = {"integration.request.header.X-Caller-IP": "context.identity.sourceIp"}
    session = {**asker, "integration.request.path.id": "method.request.path.id"}
    file = {**session, "integration.request.path.proxy": "method.request.path.proxy"}
    assert ways == {
        ("GET", "/events"): session,
        ("GET", "/files"): session,
        ("GET", "/archive"): session,
        ("GET", "/files/{proxy}"): file,
        ("PUT", "/files/{proxy}"): file,
    }
    [api] = properties(made, "AWS::ApiGateway::RestApi")
    assert api["BinaryMediaTypes"] == ["application/octet-stream"]


def test_api_gateways_own_refusals_look_like_ours() -> None:
    answers = properties(template(), "AWS::ApiGateway::GatewayResponse")
    kinds = {answer["ResponseType"] for answer in answers}
    assert kinds >= {"DEFAULT_4XX", "DEFAULT_5XX", "THROTTLED", "REQUEST_TOO_LARGE"}
    for answer in answers:
        told = json.loads(answer["ResponseTemplates"]["application/json"])
        assert set(told) == {"error"}
        assert set(told["error"]) == {"type", "message", "request_id"}
        assert answer["ResponseParameters"]["gatewayresponse.header.Access-Control-Allow-Origin"] == "'*'"


def test_the_stage_is_throttled_and_logs_no_query() -> None:
    [stage] = properties(template(), "AWS::ApiGateway::Stage")
    [every] = stage["MethodSettings"]
    assert every["ThrottlingRateLimit"] > 0
    assert every["ThrottlingBurstLimit"] > 0
    assert not every.get("DataTraceEnabled")
    assert "query" not in stage["AccessLogSetting"]["Format"].lower()
    assert not of_type(template(), "AWS::ApiGateway::UsagePlan")


def test_alarms_watch_what_the_sweep_measures() -> None:
    alarms = properties(template(), "AWS::CloudWatch::Alarm")
    ours = {alarm["MetricName"] for alarm in alarms if alarm.get("Namespace") == "opensessions"}
    assert ours == MEASURED
    source = (ROOT / "functions" / "sweep.py").read_text()
    assert all(f"{name}=" in source for name in MEASURED)
    assert all(alarm["AlarmActions"] for alarm in alarms)
    assert properties(template(), "AWS::Budgets::Budget")


def test_a_sweep_that_is_silent_or_always_fails_is_told() -> None:
    alarms = properties(template(), "AWS::CloudWatch::Alarm")
    [silent] = [alarm for alarm in alarms if "Metrics" in alarm]
    assert (silent["ComparisonOperator"], silent["Threshold"]) == ("LessThanThreshold", 1)
    assert silent["TreatMissingData"] == "breaching"
    done, *counted = silent["Metrics"]
    assert done["Expression"] == "calls - FILL(failures, 0)"
    told = {metric["Id"]: metric["MetricStat"] for metric in counted}
    assert told["calls"]["Metric"]["MetricName"] == "Invocations"
    assert told["failures"]["Metric"]["MetricName"] == "Errors"
    for each in told.values():
        assert (each["Stat"], each["Period"]) == ("Sum", 300)
        [function] = each["Metric"]["Dimensions"]
        assert plain(function["Value"]["Ref"]) == "FunctionsSweep"


def test_alarms_reach_their_topic_and_an_address() -> None:
    made = template(alarm_email="ops@example.com")
    [policy] = properties(made, "AWS::SNS::TopicPolicy")
    allowed = [s for s in policy["PolicyDocument"]["Statement"] if s["Effect"] == "Allow"]
    assert "cloudwatch.amazonaws.com" in json.dumps(allowed)
    [subscription] = properties(made, "AWS::SNS::Subscription")
    assert (subscription["Protocol"], subscription["Endpoint"]) == ("email", "ops@example.com")
    assert not of_type(template(), "AWS::SNS::Subscription")


def test_images_are_there_before_the_service_that_runs_them() -> None:
    made = template(images="build")
    [built] = of_type(made, "AWS::CloudFormation::CustomResource")
    [service] = of_type(made, "AWS::ECS::Service").values()
    assert built in service["DependsOn"]
    sandbox = [
        part
        for part in of_type(made, "AWS::ECS::TaskDefinition").values()
        if part["Properties"]["ContainerDefinitions"][0]["Name"] == "sandbox"
    ]
    assert built in sandbox[0]["DependsOn"]


def test_dockerfiles_are_where_the_build_looks_for_them() -> None:
    [project] = properties(template(images="build"), "AWS::CodeBuild::Project")
    script = json.dumps(project["Source"]["BuildSpec"])
    for file in ("gateway/Dockerfile", "sandbox_task/Dockerfile"):
        assert file in script
        assert (Path(ROOT) / file).exists()


def _streams(made: Template) -> list[dict[str, Any]]:
    return [
        method["Integration"]
        for method in properties(made, "AWS::ApiGateway::Method")
        if method["Integration"].get("ResponseTransferMode") == "STREAM"
    ]


def _task(made: Template, container: str) -> dict[str, Any]:
    [task] = [
        task
        for task in properties(made, "AWS::ECS::TaskDefinition")
        if task["ContainerDefinitions"][0]["Name"] == container
    ]
    return task
