"""What arrives on the tasks queue: that ECS stopped a task, or that a launch is to be tried again.

The first is an EventBridge event "ECS Task State Change", delivered at least once and in any order; the
second is our own `{"relaunch": {"sandbox_id", "launch", "attempt"}}`.
"""

import json
import logging
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, Field

from opensessions.aws.fargate import CONTAINER, GROUP
from opensessions.supervisor import Supervisor

log = logging.getLogger(__name__)

_WHY = {
    "TaskFailedToStart": "It could not be started; the operator's log says why.",
    "SpotInterruption": "The cloud took its machine back.",
    "TerminationNotice": "The cloud took its machine back for maintenance.",
    "UserInitiated": "It was stopped from outside.",
    "ServiceSchedulerInitiated": "It was stopped from outside.",
}
_NOT_STARTED = {
    "CannotPullContainer": "Its image could not be fetched.",
    "capacity": "The cloud had no capacity for it.",
    "network interface": "The cloud had no network address for it.",
    "InsufficientFreeAddresses": "The cloud had no network address for it.",
}
_SANDBOX = r"^sb-[0-9a-f]{32}$"


class Relaunch(BaseModel):
    sandbox_id: str = Field(pattern=_SANDBOX)
    launch: int
    attempt: int


class PutOff(BaseModel):
    relaunch: Relaunch


class Ours(BaseModel):
    """What a task of ours says of itself; those of others have another `startedBy` or `group`."""

    sandbox_id: str = Field(alias="startedBy", pattern=_SANDBOX)
    group: str = Field(pattern=rf"^{GROUP}[0-9]{{1,9}}$")

    @property
    def launch(self) -> int:
        return int(self.group.removeprefix(GROUP))


class StateChange(BaseModel):
    detail_type: Literal["ECS Task State Change"] = Field(alias="detail-type")
    detail: dict[str, Any]


def act(body: str, supervisor: Supervisor) -> None:
    """Act on one message. Late, repeated and foreign ones change nothing. Raises ValueError for what is
    none of the two.
    """
    message = json.loads(body)
    if isinstance(message, dict) and "relaunch" in message:
        put_off = PutOff.model_validate(message).relaunch
        supervisor.relaunch(put_off.sandbox_id, put_off.launch, put_off.attempt)
        return
    detail = StateChange.model_validate(message).detail
    if detail.get("lastStatus") != "STOPPED" or not (ours := _ours(detail)):
        return
    session = f"{ours.sandbox_id}, launch {ours.launch}"
    log.info("task of %s stopped: %s, %s", session, detail.get("stopCode"), detail.get("stoppedReason"))
    supervisor.sandbox_stopped(ours.sandbox_id, ours.launch, reason(detail))


def reason(detail: Mapping[str, Any]) -> str:
    """Why a task stopped, for people; what ECS says of accounts and images is left out."""
    of_ours = [one for one in detail.get("containers", []) if one.get("name") == CONTAINER]
    container: Mapping[str, Any] = of_ours[0] if of_ours else {}
    said = f"{detail.get('stoppedReason', '')} {container.get('reason', '')}"
    if "OutOfMemory" in said:
        return "It ran out of its memory."
    code = str(detail.get("stopCode", ""))
    if code == "EssentialContainerExited" and "exitCode" in container:
        return f"Its worker ended with status {container['exitCode']}."
    if code == "TaskFailedToStart":
        return next((why for word, why in _NOT_STARTED.items() if word.lower() in said.lower()), _WHY[code])
    return _WHY.get(code, "It ended.")


def _ours(detail: Mapping[str, Any]) -> Ours | None:
    try:
        return Ours.model_validate(detail)
    except ValueError:
        return None
