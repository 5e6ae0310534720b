"""What arrives on the tasks queue: that ECS stopped a task, or that a launch is to be tried again.

The first is an EventBridge event "ECS Task State Change", delivered at least once and in any order; the
second is our own `{"relaunch": {"sandbox_id", "launch", "attempt"}}`.
"""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, Field

from opensessions.aws.fargate import CONTAINER, GROUP
from opensessions.supervisor import Supervisor

_WHY = {
    "TaskFailedToStart": "It could not be started; the operator's console says why.",
    "SpotInterruption": "The cloud took its machine back.",
    "TerminationNotice": "The cloud took its machine back for maintenance.",
    "UserInitiated": "It was stopped from outside.",
}


class Relaunch(BaseModel):
    sandbox_id: str = Field(pattern=r"^sb-[0-9a-f]{32}$")
    launch: int
    attempt: int


class PutOff(BaseModel):
    relaunch: Relaunch


class StateChange(BaseModel):
    """As much of the event as is acted on; tasks of others have another `startedBy` or `group`."""

    detail_type: Literal["ECS Task State Change"] = Field(alias="detail-type")
    detail: Mapping[str, Any]


def act(message: Mapping[str, Any], supervisor: Supervisor) -> None:
    """Act on one message. Late, repeated and foreign ones change nothing. Raises ValueError for what is
    none of the two.
    """
    if "relaunch" in message:
        put_off = PutOff.model_validate(message).relaunch
        supervisor.relaunch(put_off.sandbox_id, put_off.launch, put_off.attempt)
        return
    detail = StateChange.model_validate(message).detail
    sandbox_id, number = str(detail.get("startedBy", "")), str(detail.get("group", "")).removeprefix(GROUP)
    if detail.get("lastStatus") == "STOPPED" and sandbox_id.startswith("sb-") and number.isdecimal():
        supervisor.sandbox_stopped(sandbox_id, int(number), reason(detail))


def reason(detail: Mapping[str, Any]) -> str:
    """Why a task stopped, for people; what ECS says of accounts and images is left out."""
    of_ours = [one for one in detail.get("containers", []) if one.get("name") == CONTAINER]
    container: Mapping[str, Any] = of_ours[0] if of_ours else {}
    if "OutOfMemory" in str(container.get("reason", "")):
        return "It ran out of its memory."
    code = str(detail.get("stopCode", ""))
    if code == "EssentialContainerExited" and "exitCode" in container:
        return f"Its worker ended with status {container['exitCode']}."
    return _WHY.get(code, "It ended.")
