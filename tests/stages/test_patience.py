import pytest
from hypothesis import given
from hypothesis import strategies as st

from workloads.errors import InputError, Preempted, UnavailableError
from workloads.stages.patience import ONCE, Patience

AWAY = UnavailableError.of("The store is away.", "wait")


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0
        self.pauses: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds

    def read(self) -> float:
        return self.now


@given(failures=st.integers(0, 8))
def test_what_comes_back_in_time_is_waited_for(failures: int) -> None:
    clock, attempts = Clock(), iter([AWAY] * failures)

    def work() -> str:
        error = next(attempts, None)
        if error is not None:
            raise error
        return "done"

    assert Patience(limit=600, sleep=clock.sleep, clock=clock.read)(work) == "done"
    assert len(clock.pauses) == failures
    assert all(pause <= 60 for pause in clock.pauses)


def test_what_stays_away_is_given_up_at_the_limit_with_its_reason() -> None:
    clock = Clock()

    def work() -> None:
        raise AWAY

    with pytest.raises(UnavailableError, match="store is away"):
        Patience(limit=600, sleep=clock.sleep, clock=clock.read)(work)
    assert 600 <= clock.now <= 660


def test_work_that_takes_long_before_it_fails_is_tried_again_all_the_same() -> None:
    clock, attempts = Clock(), []

    def work() -> str:
        attempts.append(1)
        clock.now += 5000
        if len(attempts) == 1:
            raise AWAY
        return "done"

    assert Patience(limit=600, sleep=clock.sleep, clock=clock.read)(work) == "done"


@pytest.mark.parametrize("error", [InputError.of("wrong", "mend"), Preempted.of("stop", "again"), KeyError("x")])
def test_nothing_else_is_tried_again(error: Exception) -> None:
    attempts = []

    def work() -> None:
        attempts.append(1)
        raise error

    with pytest.raises(type(error)):
        Patience(sleep=lambda _: pytest.fail("it waited"))(work)
    assert len(attempts) == 1


def test_once_is_one_attempt() -> None:
    attempts = []

    def work() -> None:
        attempts.append(1)
        raise AWAY

    with pytest.raises(UnavailableError):
        ONCE(work)
    assert len(attempts) == 1
