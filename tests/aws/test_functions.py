"""The functions, each a process and called as AWS and the gateway call them."""

import base64
import json
import subprocess
import sys
from typing import Any

import httpx2
import pytest
from moto.sqs.models import sqs_backends

from opensessions.aws.invoke import event as gateway_event
from opensessions.events import TurnStarted
from opensessions.models import SandboxStatus, Status
from tests.aws.account import PROMPT, Account, Function
from tests.aws.events import proxied, queued, stopped
from tests.fakes import World, open_account


@pytest.fixture(scope="module")
def api(cloud: Account) -> Function:
    return cloud.function("api")


@pytest.fixture(scope="module")
def callback(cloud: Account) -> Function:
    return cloud.function("callback")


@pytest.fixture(scope="module")
def key(cloud: Account) -> str:
    return open_account(cloud.keyring)


def created(api: Function, key: str) -> dict[str, Any]:
    answer = api(proxied("POST", "/v1/sessions", key, {"prompt": PROMPT, "user_id": "u1"}))
    assert answer["statusCode"] == 201, answer
    session: dict[str, Any] = json.loads(answer["body"])
    return session


def relayed(callback: Function, token: str, path: str, body: Any) -> dict[str, Any]:
    """As the gateway's transport invokes the callback."""
    headers = {"Authorization": f"Bearer {token}"}
    request = httpx2.Request("POST", f"http://callback{path}", headers=headers, json=body)
    answer: dict[str, Any] = callback(gateway_event(request, request.read()))
    return answer


def ticket(cloud: Account, session: dict[str, Any]) -> str:
    """What the sandbox's container was given."""
    (run,) = [run for run in cloud.front.runs if run["startedBy"] == session["sandboxId"]]
    (container,) = run["overrides"]["containerOverrides"]
    given = {variable["name"]: variable["value"] for variable in container["environment"]}
    assert set(given) == {"SANDBOX_ID", "BOOT_TICKET"} and given["SANDBOX_ID"] == session["sandboxId"]
    return str(given["BOOT_TICKET"])


def test_a_session_is_made_seen_told_more_interrupted_and_ended(
    api: Function, key: str, cloud: Account
) -> None:
    session = created(api, key)
    assert session["status"] == "running" and session["previewUrl"].startswith("https://sb-")
    assert len(cloud.tasks(session["sandboxId"])) == 1
    path = f"/v1/sessions/{session['id']}"
    assert json.loads(api(proxied("GET", path, key))["body"])["id"] == session["id"]
    more = {"message": "In blue", "user_id": "u1"}
    told = api(proxied("POST", f"{path}/messages", key, more))
    assert [m["content"] for m in json.loads(told["body"])["messages"]] == [PROMPT, "In blue"]
    assert api(proxied("POST", f"{path}/interrupt", key))["statusCode"] == 200
    page = api(proxied("GET", f"{path}/events/page", key, query={"after": "1", "limit": "1"}))
    assert [event["seq"] for event in json.loads(page["body"])["data"]] == [2]
    listed = api(proxied("GET", "/v1/sessions", key, query={"limit": "1"}))
    assert listed["statusCode"] == 200
    assert json.loads(api(proxied("DELETE", path, key))["body"]) == {"id": session["id"], "status": "ended"}
    assert cloud.tasks(session["sandboxId"]) == []


def test_a_sandbox_boots_speaks_and_is_heard(
    api: Function, callback: Function, key: str, cloud: Account
) -> None:
    session = created(api, key)
    boot = relayed(callback, ticket(cloud, session), "/callback/v1/boot", {"address": "10.0.0.7"})
    token = json.loads(boot["body"])["token"]
    batch = {"first_seq": 1, "events": [TurnStarted().model_dump(mode="json")]}
    for _ in range(2):
        heard = relayed(callback, token, "/callback/v1/events", batch)
        assert heard["statusCode"] == 200 and json.loads(heard["body"])["acked"] == 1
    seen = json.loads(api(proxied("GET", f"/v1/sessions/{session['id']}", key))["body"])
    assert [event["type"] for event in seen["events"]].count("turn_started") == 1
    stored = cloud.store.get(session["id"])
    assert stored and stored.address == "10.0.0.7"
    stolen = relayed(callback, ticket(cloud, session), "/callback/v1/boot", {"address": "10.0.0.8"})
    assert stolen["statusCode"] == 401
    assert json.loads(api(proxied("GET", f"/v1/sessions/{session['id']}", key))["body"])["status"] == "error"


@pytest.mark.parametrize(
    ("event", "status", "kind"),
    [
        (proxied("POST", "/v1/sessions", "KEY", "{not json"), 400, "invalid_request"),
        (proxied("POST", "/v1/sessions", "KEY", {"prompt": "", "user_id": "u1"}), 400, "invalid_request"),
        (proxied("POST", "/v1/sessions", "KEY"), 400, "invalid_request"),
        (proxied("POST", "/v1/sessions", None, {"prompt": "x", "user_id": "u1"}), 401, "unauthorized"),
        (proxied("GET", f"/v1/sessions/session_{'0' * 32}", "KEY"), 404, "not_found"),
        (proxied("GET", f"/v1/sessions/session_{'0' * 32}/events", "KEY"), 404, "not_found"),
        (proxied("PUT", "/v1/sessions", "KEY"), 405, "invalid_request"),
        (proxied("GET", "/v1/elsewhere", "KEY"), 404, "not_found"),
    ],
    ids=lambda value: value["httpMethod"] + value["path"] if isinstance(value, dict) else str(value),
)
def test_a_refusal_has_the_shape_of_all_errors(
    api: Function, key: str, event: dict[str, Any], status: int, kind: str
) -> None:
    known = json.loads(json.dumps(event).replace('"KEY"', f'"{key}"'))
    answer = api(known)
    assert (answer["statusCode"], json.loads(answer["body"])["error"]["type"]) == (status, kind)


@pytest.mark.parametrize("path", ["/docs", "/openapi.json", "/healthz"])
def test_the_api_describes_itself_without_a_key(api: Function, path: str) -> None:
    answer = api(proxied("GET", path))
    assert answer["statusCode"] == 200 and answer["body"]


def test_the_stage_is_a_part_of_the_apis_address_and_of_no_path(api: Function, key: str) -> None:
    document = json.loads(api(proxied("GET", "/openapi.json"))["body"])
    server = "https://abc.execute-api.us-east-1.amazonaws.com/prod"
    assert document["servers"] == [{"url": server}]
    assert "/v1/sessions" in document["paths"]
    page = api(proxied("GET", "/docs"))["body"]
    assert f"<code>{server}</code>" in page and 'href="openapi.json"' in page
    own_name = proxied("GET", "/openapi.json")
    own_name["requestContext"]["path"] = "/openapi.json"
    own_name["multiValueHeaders"]["Host"] = ["api.example.com"]
    document = json.loads(api(own_name)["body"])
    assert document["servers"] == [{"url": "https://api.example.com"}]
    assert api(proxied("GET", "/prod/v1/sessions", key))["statusCode"] == 404


def test_a_browser_may_ask_and_bytes_may_come_encoded(api: Function, key: str) -> None:
    asked = proxied("OPTIONS", "/v1/sessions")
    asked["headers"]["Origin"] = "https://app.test"
    asked["multiValueHeaders"]["Origin"] = ["https://app.test"]
    answer = api(asked)
    assert answer["statusCode"] == 204
    assert answer["headers"]["access-control-allow-origin"] == "https://app.test"
    encoded = proxied("POST", "/v1/sessions", key)
    body = json.dumps({"prompt": "", "user_id": "ü"}, ensure_ascii=False).encode()
    encoded |= {"body": base64.b64encode(body).decode(), "isBase64Encoded": True}
    assert json.loads(api(encoded)["body"])["error"]["field"] == "prompt"


def test_what_fails_is_logged_with_the_session_and_without_a_secret(cloud: Account, key: str) -> None:
    api = cloud.function("api", TABLE_NAME="no-such-table")
    session_id = f"session_{'a' * 32}"
    query = {"token": "canary-of-a-query", "api_key": key}
    answer = api(proxied("GET", f"/v1/sessions/{session_id}", key, query=query))
    assert answer["statusCode"] == 500 and "no-such-table" not in answer["body"]
    (line,) = [line for line in api.lines() if line["level"] == "ERROR"]
    assert line["session_id"] == session_id and line["service"] == "api"
    assert "ResourceNotFound" in line["exception"]


def test_an_account_has_a_quota(cloud: Account) -> None:
    api = cloud.function("api", QUOTA_LIVE="1", POWERTOOLS_LOGGER_LOG_EVENT="true")
    key = open_account(cloud.keyring, "small")
    created(api, key)
    refused = api(proxied("POST", "/v1/sessions", key, {"prompt": PROMPT, "user_id": "u1"}))
    assert refused["statusCode"] == 429 and int(refused["headers"]["retry-after"]) > 0


def test_a_cold_start_imports_no_client(cloud: Account) -> None:
    """They come with the first call that needs one."""
    names = ("api", "callback", "sweep", "task_state")
    imports = "; ".join(f"import functions.{name}" for name in names)
    heavy = {"boto3", "botocore.client", "aws_xray_sdk", "opensessions.local", "gateway", "httpx2"}
    program = f"import sys; sys.path.insert(0, sys.argv[1]); {imports}; print({heavy} & set(sys.modules))"
    command = [sys.executable, "-I", "-c", program, str(cloud.folder / "bundle")]
    imported = subprocess.run(command, env=cloud.environment, capture_output=True, text=True, timeout=60)
    assert imported.stdout == "set()\n", imported.stderr


def test_a_variable_that_is_missing_is_named(cloud: Account) -> None:
    function = cloud.function("callback", TABLE_NAME="")
    function.close()
    assert "SettingsError: TABLE_NAME is not set." in function.log.read_text()


def test_want_of_capacity_is_told_and_the_launch_put_off(api: Function, key: str, cloud: Account) -> None:
    cloud.front.answers = [(200, {"tasks": [], "failures": [{"arn": "arn:1", "reason": "RESOURCE:ENI"}]})]
    session = created(api, key)
    assert session["status"] == "running" and cloud.tasks(session["sandboxId"]) == []
    warning = session["events"][-1]
    assert warning["level"] == "warning" and "5 s" in warning["message"] and "arn" not in warning["message"]
    assert put_off(cloud, session["sandboxId"]) == [(5, {"launch": 1})]
    task_state = cloud.function("task_state")
    relaunch = {"relaunch": {"sandbox_id": session["sandboxId"], "launch": 1}}
    for _ in range(2):
        assert task_state(queued(json.dumps(relaunch))) == {"batchItemFailures": []}
    (task,) = cloud.tasks(session["sandboxId"])
    assert task["group"] == "launch:2"


def put_off(cloud: Account, sandbox_id: str) -> list[tuple[int, dict[str, int]]]:
    """Launches of a sandbox that are on the queue: the delay, and what else the message says."""
    queue = sqs_backends["123456789012"]["us-east-1"].queues[cloud.environment["TABLE_NAME"]]
    found = []
    for message in queue._messages:
        said = json.loads(message.body)["relaunch"]
        if said.pop("sandbox_id") == sandbox_id:
            found.append((round((message.delayed_until - (message.sent_timestamp or 0)) / 1000), said))
    return found


def test_one_bad_message_does_not_hold_up_the_others(cloud: Account, here: World) -> None:
    sessions = [World(cloud.store, here.folder).create(account="tasks") for _ in range(2)]
    batch = queued(stopped(sessions[0]), "no JSON", stopped(sessions[1]), stopped(sessions[0]))
    function = cloud.function("task_state")
    assert function(batch) == {"batchItemFailures": [{"itemIdentifier": "1"}]}
    assert function(queued("no JSON")) == {"batchItemFailures": [{"itemIdentifier": "0"}]}
    for session in sessions:
        now = cloud.store.get(session.id)
        assert now and (now.losses, now.head.sandbox_status) == (1, SandboxStatus.STARTING)
    lines = function.lines()
    assert sum("JSONDecodeError" in str(line) for line in lines) == 2
    failed = [line for line in lines if line["message"].endswith("Its worker ended with status 1.")]
    assert {line["session_id"] for line in failed} == {session.id for session in sessions}


def test_a_sweep_stops_what_nobody_wants_and_counts(api: Function, key: str, cloud: Account) -> None:
    wanted, orphan = created(api, key), created(api, key)
    sweep = cloud.function("sweep")
    sweep({"source": "aws.events", "detail-type": "Scheduled Event"})
    session = cloud.store.get(orphan["id"])
    assert session
    ended = {"status": Status.ENDED, "sandbox_status": SandboxStatus.STOPPED}
    cloud.store.commit(session, session.model_copy(update={"head": session.head.model_copy(update=ended)}))
    sweep({"source": "aws.events", "detail-type": "Scheduled Event"})
    assert cloud.tasks(orphan["sandboxId"]) == [] and len(cloud.tasks(wanted["sandboxId"])) == 1
    first, second = [line for line in sweep.lines() if "_aws" in line]
    assert "OrphanedTasks" not in first, "what is 0 is not told"
    assert second["OrphanedTasks"] == [1]
    assert 0 < second["OldestUnlaunchedSeconds"][0] < 300
    (told,) = second["_aws"]["CloudWatchMetrics"]
    assert (told["Namespace"], told["Dimensions"]) == ("opensessions", [["service"]])
    assert second["service"] == "opensessions" and "session_" not in str(second)
