import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads.report.page import render
from workloads.report.source import read_run
from workloads.report.sweep import read_sweep

TRIALS: list[dict[str, Any]] = [
    {"trial": 0, "state": "pruned", "parameters": {"learning_rate": 1e-4, "optim": "sgd"}, "metric": 1.5, "steps": 10},
    {
        "trial": 1,
        "state": "finished",
        "parameters": {"learning_rate": 1e-2, "optim": "adamw"},
        "metric": 0.2,
        "steps": 90,
    },
    {"trial": 2, "state": "pruned", "parameters": {"learning_rate": 1e-3, "optim": "sgd"}, "metric": 0.1, "steps": 10},
    {
        "trial": 3,
        "state": "failed",
        "parameters": {"learning_rate": 9.0, "optim": "sgd"},
        "metric": None,
        "steps": None,
        "problems": [{"message": "It <b>burst</b>.", "fix": ""}],
    },
]
SWEEP = {
    "method": "asha",
    "metric": "loss",
    "more_is_better": False,
    "best": 1,
    "trials": [{"seconds": 30.0, **each} for each in TRIALS],
}


def sweep_of(run: Any, value: Any = SWEEP) -> Any:
    run.write(run.paths.sweep, value)
    return read_sweep(read_run(run.paths.root))


def test_trials_are_listed_the_furthest_and_best_first(run: Any) -> None:
    found = sweep_of(run)
    assert [row.number for row in found.rows] == [1, 2, 0, 3]
    assert [row.is_best for row in found.rows] == [True, False, False, False]
    assert found.columns == ("learning_rate", "optim")
    assert found.sentence == (
        "4 trials took 2\N{NO-BREAK SPACE}min\N{NO-BREAK SPACE}00\N{NO-BREAK SPACE}s together: 1 trained to its end, "
        "2 stopped early, 1 failed. The best is trial 1 (learning_rate 0.01, optim adamw): loss 0.2."
    )


def test_more_can_be_better(run: Any) -> None:
    rows = sweep_of(run, {**SWEEP, "metric": "exact_match", "more_is_better": True}).rows
    assert [row.number for row in rows] == [1, 0, 2, 3]
    assert rows[0].metric == "20.0\N{NO-BREAK SPACE}%"


def test_rates_are_drawn_over_powers_of_ten_and_words_have_a_place_each(run: Any) -> None:
    rates, optimizers = sweep_of(run).plots
    assert {dot.label.split(":")[0]: dot.x for dot in rates.dots} == {"trial 0": 0, "trial 2": 50, "trial 1": 100}
    assert [tick.label for tick in rates.x_ticks] == ["0.0001", "0.001", "0.01"]
    assert [(tick.position, tick.label) for tick in optimizers.x_ticks] == [(25, "adamw"), (75, "sgd")]
    assert rates.dots[-1].kind == "best"
    by_height = sorted(rates.dots, key=lambda dot: dot.y)
    assert by_height[0].label == "trial 0: learning_rate 0.0001, loss 1.5 at step 10"


def test_the_page_shows_the_best_trials_curves_and_escapes_what_trials_say(run: Any, page_of: Any) -> None:
    sweep_of(run)
    own = run.paths.trial(1)
    own.mkdir(parents=True)
    events = [{"time": 1.8e9 + step, "event": "log", "step": step, "loss": 3.0 / step} for step in range(1, 9)]
    (own / "events.jsonl").write_text("".join(json.dumps(each) + "\n" for each in events))
    page = page_of(run)
    assert page.faults == []
    assert "Training loss: 3 at step 1, 0.375 at step 8" in " ".join(value for _, _, value in page.attributes)
    assert "failed: It <b>burst</b>." in page.text
    assert "burst" not in page.tags


def test_a_run_without_a_sweep_has_no_such_part(run: Any, page_of: Any) -> None:
    run.whole()
    assert read_sweep(read_run(run.paths.root)) is None
    assert "Trials" not in page_of(run).text


_JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.floats(), st.integers(-(10**40), 10**40), st.text(max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=6), inner, max_size=3)),
    max_leaves=6,
)
_TRIAL = st.fixed_dictionaries(
    {},
    optional={
        "trial": st.one_of(st.integers(-2, 5), _JSON),
        "state": st.one_of(st.sampled_from(["finished", "failed"]), _JSON),
        "parameters": st.one_of(st.dictionaries(st.sampled_from(["learning_rate", "x"]), _JSON, max_size=2), _JSON),
        "metric": st.one_of(st.floats(), _JSON),
        "steps": _JSON,
        "seconds": _JSON,
        "problems": _JSON,
    },
)


@settings(max_examples=60, deadline=None)
@given(trials=st.lists(_TRIAL, max_size=5), best=_JSON, metric=_JSON)
def test_no_sweep_file_breaks_the_page(new_run: Callable[[], Any], trials: list[Any], best: Any, metric: Any) -> None:
    run = new_run()
    run.write(run.paths.sweep, {"trials": trials, "best": best, "metric": metric, "more_is_better": True})
    assert render(read_run(run.paths.root)).rstrip().endswith("</html>")


@pytest.mark.parametrize("metric", [0.0, 1e-300, 1e29])
def test_equal_metrics_still_have_a_scale(run: Any, metric: float) -> None:
    trials = [{**each, "metric": metric, "seconds": 1.0} for each in TRIALS]
    assert all(0 <= dot.y <= 100 for plot in sweep_of(run, {**SWEEP, "trials": trials}).plots for dot in plot.dots)
