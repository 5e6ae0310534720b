"""How much a sandbox may send."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from opensessions.errors import RateLimited

PARALLEL = 4


@dataclass(frozen=True, slots=True)
class Rates:
    """For one sandbox: posts and bytes a second, and how much of each at once."""

    posts: float = 20.0
    posts_burst: float = 40.0
    volume: float = 64 * 1024
    volume_burst: float = 2 * 1024 * 1024


class Bucket:
    """Fills by `rate` a second up to `burst`; what is taken must be there."""

    def __init__(self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._burst, self._clock = rate, burst, clock
        self._level, self._at = burst, clock()

    def take(self, amount: float) -> None:
        """Take `amount`, at most `burst`. Raises RateLimited when it is not there; then nothing was taken."""
        now = self._clock()
        self._level = min(self._burst, self._level + (now - self._at) * self._rate)
        self._at = now
        missing = amount - self._level
        if missing > 0:
            wait = math.ceil(missing / self._rate)
            raise RateLimited(f"This sandbox sends too much; try again in {wait} s.", wait)
        self._level -= amount

    def give_back(self, amount: float) -> None:
        """Undo a `take`."""
        self._level = min(self._burst, self._level + amount)


class Buckets:
    """A bucket for each key; one that is full again is not kept."""

    def __init__(self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._burst, self._clock = rate, burst, clock
        self._used: dict[str, tuple[Bucket, float]] = {}

    def __len__(self) -> int:
        return len(self._used)

    def take(self, key: str) -> None:
        """Take one from the key's bucket. Raises RateLimited."""
        now = self._clock()
        known = self._used.pop(key, None)
        bucket = known[0] if known else Bucket(self._rate, self._burst, self._clock)
        self._used[key] = bucket, now
        for oldest, (_, used_at) in list(self._used.items()):
            if now - used_at < self._burst / self._rate:
                break
            del self._used[oldest]
        bucket.take(1)


class Sender:
    """One sandbox's account."""

    def __init__(self, rates: Rates, clock: Callable[[], float] = time.monotonic) -> None:
        self._posts = Bucket(rates.posts, rates.posts_burst, clock)
        self.volume = Bucket(rates.volume, rates.volume_burst, clock)
        self.under_way = 0

    @contextmanager
    def post(self) -> Iterator[None]:
        """One post under way. Raises RateLimited."""
        self._posts.take(1)
        if self.under_way >= PARALLEL:
            raise RateLimited(f"This sandbox has {PARALLEL} posts under way; wait for one to end.", 1)
        self.under_way += 1
        try:
            yield
        finally:
            self.under_way -= 1
