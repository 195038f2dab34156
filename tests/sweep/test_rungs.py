import itertools
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workloads.run_spec import METRICS, Sweep
from workloads.sweep.results import Measurement, TrialResult, best, contestants, state
from workloads.sweep.rungs import promoted, ranked, rungs

PARAMETERS = {"learning_rate": {"min": 1e-5, "max": 1e-2}}


def asha(reduction: int = 3, metric: str = "loss", min_steps: int = 10) -> Sweep:
    values = {"method": "asha", "trials": 9, "parameters": PARAMETERS, "min_steps": min_steps}
    return Sweep.model_validate({**values, "reduction": reduction, "metric": metric})


RANDOM = Sweep.model_validate({"method": "random", "trials": 4, "parameters": PARAMETERS})


def test_nine_trials_by_threes() -> None:
    found = rungs(asha(), 9)
    assert [(each.steps, each.trials) for each in found] == [(10, 9), (30, 3), (None, 1)]


def test_other_methods_train_every_trial_to_its_end() -> None:
    assert [(each.steps, each.trials) for each in rungs(RANDOM, 4)] == [(None, 4)]


@given(trials=st.integers(1, 1000), reduction=st.integers(2, 10), min_steps=st.integers(1, 100))
def test_rungs_get_longer_and_narrower(trials: int, reduction: int, min_steps: int) -> None:
    found = rungs(asha(reduction, min_steps=min_steps), trials)
    assert [each.number for each in found] == list(range(len(found)))
    assert found[0].trials == trials
    assert found[-1].steps is None
    assert 1 <= found[-1].trials < max(reduction, 2)
    for before, after in itertools.pairwise(found):
        assert after.trials == before.trials // reduction
        assert after.steps is None or (before.steps is not None and after.steps == before.steps * reduction)


_METRICS = st.dictionaries(st.integers(0, 40), st.one_of(st.none(), st.floats()), max_size=20)


@given(metrics=_METRICS, keep=st.integers(1, 10), metric=st.sampled_from(sorted(METRICS)))
def test_no_trial_that_is_left_behind_is_better_than_one_that_goes_on(
    metrics: dict[int, float | None], keep: int, metric: str
) -> None:
    sweep = asha(metric=metric)
    chosen = promoted(sweep, metrics, keep)
    usable = {number: value for number, value in metrics.items() if value is not None and math.isfinite(value)}
    assert len(chosen) == min(keep, len(usable))
    sign = -1 if METRICS[metric] else 1
    for number in chosen:
        assert all(sign * usable[number] <= sign * value for other, value in usable.items() if other not in chosen)
    assert sorted(ranked(sweep, metrics)) == sorted(metrics)


@given(metrics=st.dictionaries(st.integers(0, 40), st.floats(0, 1), min_size=1, max_size=20), order=st.randoms())
def test_the_order_of_arrival_decides_nothing(metrics: dict[int, float], order: random.Random) -> None:
    shuffled = list(metrics.items())
    order.shuffle(shuffled)
    assert promoted(asha(), dict(shuffled), 3) == promoted(asha(), metrics, 3)


def fake_search(sweep: Sweep, losses: list[float]) -> list[TrialResult]:
    """Runs a sweep on a made-up objective: the loss at a rung is the trial's final loss plus what time takes away."""
    results = [TrialResult(number, {"learning_rate": loss}) for number, loss in enumerate(losses)]
    rounds = rungs(sweep, len(losses))
    for rung in rounds:
        for number in contestants(sweep, results, rounds, rung.number):
            value = losses[number] + 1 / (rung.number + 1)
            results[number].measured[rung.number] = Measurement(rung.steps or 999, {sweep.metric: value})
    return results


@given(losses=st.lists(st.floats(0, 100), min_size=1, max_size=60), reduction=st.integers(2, 5))
def test_on_an_objective_without_surprises_the_best_trial_wins(losses: list[float], reduction: int) -> None:
    sweep = asha(reduction)
    results = fake_search(sweep, losses)
    winner = best(sweep, results)
    assert winner is not None
    # adding 1 to a tiny loss makes it equal to another
    assert losses[winner] == pytest.approx(min(losses), abs=1e-12)
    rounds = rungs(sweep, len(losses))
    for rung in rounds:
        assert sum(rung.number in each.measured for each in results) == rung.trials
    states = [state(sweep, results, rounds, number, over=True) for number in range(len(losses))]
    assert states.count("finished") == rounds[-1].trials
    assert set(states) <= {"finished", "pruned"}


def test_a_trial_that_failed_or_diverged_does_not_go_on() -> None:
    sweep = asha()
    results = [TrialResult(number, {}) for number in range(9)]
    for each in results:
        each.measured[0] = Measurement(10, {"loss": math.nan if each.number < 7 else 1.0})
    rounds = rungs(sweep, 9)
    assert contestants(sweep, results, rounds, 1) == [7, 8]


def test_a_sweep_without_a_finite_metric_has_no_best() -> None:
    result = TrialResult(0, {})
    assert best(RANDOM, [result]) is None
    result.measured[0] = Measurement(4, {"loss": math.inf})
    assert best(RANDOM, [result]) is None


def test_the_best_is_one_of_those_that_got_furthest() -> None:
    results = [TrialResult(number, {}) for number in range(3)]
    for number, loss in enumerate((0.1, 0.5, 0.6)):
        results[number].measured[0] = Measurement(10, {"loss": loss})
    results[1].measured[1] = Measurement(30, {"loss": 0.4})
    assert best(asha(), results) == 1


def test_states_of_a_sweep_whose_budget_was_spent() -> None:
    results = [TrialResult(number, {}) for number in range(9)]
    rounds = rungs(asha(), 9)
    for number in range(3):
        results[number].measured[0] = Measurement(10, {"loss": float(number)})
    results[3].problems = [{"message": "no", "fix": ""}]
    states = [state(asha(), results, rounds, number, over=False) for number in range(5)]
    assert states == ["waiting", "waiting", "waiting", "failed", "waiting"]
    assert state(asha(), results, rounds, 4, over=True) == "skipped"
