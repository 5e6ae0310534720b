"""What arrives on the tasks queue: that ECS stopped a task, that a launch is to be tried again, or that the
pool lacks spares.

The first is an EventBridge event "ECS Task State Change", delivered at least once and in any order; the
others are our own: `{"relaunch": {"sandbox_id", "launch"}}` and `{"refill": true}`.
"""

import json
import logging
from typing import Any, Literal

from pydantic import BaseModel, Field

from opensessions.aws.endings import SANDBOX, ending
from opensessions.logbook import about
from opensessions.sessions.supervisor import Supervisor

log = logging.getLogger(__name__)

REFILL = '{"refill": true}'


class Relaunch(BaseModel):
    sandbox_id: str = Field(pattern=SANDBOX)
    launch: int


class PutOff(BaseModel):
    relaunch: Relaunch


class StateChange(BaseModel):
    detail_type: Literal["ECS Task State Change"] = Field(alias="detail-type")
    detail: dict[str, Any]


def act(body: str, supervisor: Supervisor) -> None:
    """Act on one message. Late, repeated and foreign ones change nothing. Raises ValueError for what is
    none of them.
    """
    message = json.loads(body)
    if message == json.loads(REFILL):
        supervisor.pool.fill()
        return
    if isinstance(message, dict) and "relaunch" in message:
        put_off = PutOff.model_validate(message).relaunch
        supervisor.relaunch(put_off.sandbox_id, put_off.launch)
        return
    task = StateChange.model_validate(message).detail
    if (ended := ending(task)) is None:
        return
    sandbox = f"{ended.sandbox_id}, launch {ended.number}"
    why = {"lacking": ended.lacking, "refused": ended.refused}
    with about():
        try:
            supervisor.sandbox_stopped(ended.sandbox_id, ended.number, ended.reason, **why)
        finally:  # whose it was is known by now
            log.info("task of %s stopped: %s, %s", sandbox, task.get("stopCode"), task.get("stoppedReason"))
