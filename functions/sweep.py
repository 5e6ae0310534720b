"""Every minute: ends whose report got lost, deadlines that have passed, and tasks that nobody wants."""

from typing import Any

from opensessions.aws import telemetry, wiring

_supervisor = wiring.supervisor()


@telemetry.observed()
def handler(event: Any, context: Any) -> None:
    _supervisor.sweep()
    orphans = _supervisor.reap()
    telemetry.count(OrphanedTasks=len(orphans), OldestUnlaunchedSeconds=_supervisor.waiting())
