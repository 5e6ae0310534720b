"""What the tests make go wrong. Each knob counts the next times; 0 is the machine as it should be."""

from dataclasses import dataclass, field, fields
from threading import Lock

SLOW_SECONDS = 57


@dataclass
class Knobs:
    """`capacity`, `quota`: RunTask is refused for the lack of it. `late`: RunTask takes a task, for which
    there is no capacity then. `unpulled`: one whose image is not there. `lost_events`: a task's STOPPED
    event goes nowhere. `throttled`: a write to a table is refused. `hurried`: a delayed message comes after a
    second. `slow`: a task takes as long to start as on Fargate, `SLOW_SECONDS`.
    """

    capacity: int = 0
    quota: int = 0
    late: int = 0
    unpulled: int = 0
    lost_events: int = 0
    throttled: int = 0
    hurried: int = 0
    slow: int = 0
    _lock: Lock = field(default_factory=Lock, repr=False)

    def turn(self, **settings: int) -> None:
        """Raises KeyError for a knob that there is not."""
        for name, value in settings.items():
            if name not in self.left():
                raise KeyError(name)
            setattr(self, name, int(value))

    def left(self) -> dict[str, int]:
        return {each.name: getattr(self, each.name) for each in fields(self) if each.name != "_lock"}

    def take(self, name: str) -> bool:
        """Whether this time is one of those."""
        with self._lock:
            left: int = getattr(self, name)
            setattr(self, name, max(0, left - 1))
            return left > 0
