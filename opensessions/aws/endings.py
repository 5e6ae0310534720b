"""What ECS says of a task that stopped, as an event or when it is asked: whose it was, and why."""

import re
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, Field

from opensessions.ports import Ended

CONTAINER = "sandbox"
GROUP = "launch:"
SANDBOX = r"^sb-[0-9a-f]{32}$"

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

_LACKING = re.compile(
    r"capacity is unavailable|InsufficientFreeAddresses|network interface provisioning", re.IGNORECASE
)
"""What RunTask took, and Fargate had too little of; all of it passes."""
_REFUSED = re.compile(r"Cannot(Pull|Create|Start)Container|ResourceInitializationError")
"""What somebody has to mend; ECS has tried it several times."""


class _Ours(BaseModel):
    """What a task of ours says of itself; those of others have another `startedBy` or `group`."""

    sandbox_id: str = Field(alias="startedBy", pattern=SANDBOX)
    group: str = Field(pattern=rf"^{GROUP}[0-9]{{1,9}}$")


def ending(task: Mapping[str, Any]) -> Ended | None:
    """The end of a sandbox, if this is a task of ours that has stopped."""
    if task.get("lastStatus") != "STOPPED":
        return None
    try:
        ours = _Ours.model_validate(task)
    except ValueError:
        return None
    not_started = task.get("stopCode") == "TaskFailedToStart"
    lacking = not_started and _LACKING.search(str(task.get("stoppedReason"))) is not None
    refused = not_started and not lacking and _REFUSED.search(_said(task)) is not None
    return Ended(ours.sandbox_id, int(ours.group.removeprefix(GROUP)), reason(task), lacking, refused)


def reason(task: Mapping[str, Any]) -> str:
    """Why a task stopped, for people; what ECS says of accounts and images is left out."""
    container, said = _container(task), _said(task)
    if "OutOfMemory" in said:
        return "It ran out of its memory."
    code = str(task.get("stopCode", ""))
    if code == "EssentialContainerExited" and "exitCode" in container:
        return f"Its worker ended with status {container['exitCode']}."
    if code == "TaskFailedToStart":
        return next((why for word, why in _NOT_STARTED.items() if word.lower() in said.lower()), _WHY[code])
    return _WHY.get(code, "It ended.")


def _said(task: Mapping[str, Any]) -> str:
    return f"{task.get('stoppedReason', '')} {_container(task).get('reason', '')}"


def _container(task: Mapping[str, Any]) -> Mapping[str, Any]:
    return next((one for one in task.get("containers", []) if one.get("name") == CONTAINER), {})
