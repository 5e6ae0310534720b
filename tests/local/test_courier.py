"""The courier: errands of one webhook and session are run in their order, those of others beside them."""

from threading import Barrier, Event

from opensessions.local.courier import THREADS, Courier
from opensessions.webhooks.hooks import Errand


def test_one_after_the_other_of_a_pair_and_side_by_side_of_others() -> None:
    ran: list[int | None] = []
    met, over = Barrier(THREADS, timeout=20), Event()

    def run(errand: Errand) -> None:
        if errand.hook_id == "one":
            ran.append(errand.seq)
            if errand.seq == 100:
                over.set()
        else:
            met.wait()

    courier = Courier(run, lambda: None)
    for number in range(THREADS):  # all threads are needed at once, so none waits for another's pair
        courier.send(Errand("others", str(number)), 0)
    for seq in range(1, 101):
        courier.send(Errand("one", "session", seq), 0)
    assert over.wait(20) and not met.broken
    assert ran == list(range(1, 101))
    courier.close()


def test_an_errand_that_waits_is_not_queued_twice_and_a_failure_stops_nothing() -> None:
    began, go, over, ran = Event(), Event(), Event(), list[int | None]()

    def run(errand: Errand) -> None:
        began.set()
        assert go.wait(20)
        ran.append(errand.seq)
        if errand.seq == 2:
            over.set()
        raise ValueError("of no interest")

    courier = Courier(run, lambda: None)
    courier.send(Errand("one", "session"), 0)
    assert began.wait(20)
    for seq in (1, 1, 2):
        courier.send(Errand("one", "session", seq), 0)
    go.set()
    assert over.wait(20) and ran == [None, 1, 2]
    courier.close()
