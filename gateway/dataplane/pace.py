"""How fast apps may answer: a sandbox whose answers have no end must not take all of a gateway."""


class Pace:
    """So many bytes a second, after a second's worth at once, for all connections that share it."""

    __slots__ = ("_paid", "_rate")

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._paid = 0.0

    def spend(self, count: int, now: float) -> None:
        """So many bytes were read."""
        self._paid = max(self._paid, now - 1) + count / self._rate

    def late(self, now: float) -> float:
        """For how many seconds nothing more may be read; 0 when it may."""
        return max(0.0, self._paid - now)
