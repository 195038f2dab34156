import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workloads.report import write_report
from workloads.report.costs import Kind, read_costs
from workloads.report.source import Event, read_run
from workloads.report.tally import Tally, read_tally
from workloads.report.timeline import Outcome, read_timeline

KINDS = ["train_started", "log", "checkpoint_saved", "preempted", "resumed", "rolled_back", "stalled", "other"]


def _events(*told: tuple[str, dict[str, Any]]) -> list[Event]:
    return [Event(float(time), kind, fields) for time, (kind, fields) in enumerate(told)]


def test_each_thing_is_counted_and_steps_are_lost_where_a_training_starts_before_where_it_was() -> None:
    tally = read_tally(
        _events(
            ("train_started", {"step": 0}),
            ("log", {"step": 5}),
            ("checkpoint_saved", {"step": 5}),
            ("checkpoint_stored", {"step": 5}),
            ("log", {"step": 8}),  # killed
            ("resumed", {"step": 5}),
            ("train_started", {"step": 5}),
            ("log", {"step": 6}),
            ("preempted", {"step": 5, "lost": 4}),
            ("checkpoint_damaged", {}),
            ("train_started", {"step": 0}),
            ("log", {"step": 3}),
            ("rolled_back", {"step": 0}),
            ("train_started", {"step": 0}),
            ("stalled", {"step": 2}),
        )
    )
    assert tally == Tally(4, 1, 1, 1, 1, 1, 1, 1, steps_lost=3 + 9 + 3)
    assert tally.words == (
        "4 starts, 1 save, 1 upload, 1 preemption, 1 resume, 1 rollback, 1 stall, 1 damaged; 15 steps done again."
    )


def test_a_run_that_has_not_trained_has_nothing_to_tell() -> None:
    assert read_tally([]).words == ""
    assert read_tally(_events(("train_started", {"step": 0}))).words == "1 start; 0 steps done again."


@given(
    st.lists(
        st.tuples(st.sampled_from(KINDS), st.dictionaries(st.sampled_from(["step", "lost"]), st.floats() | st.text()))
    )
)
def test_whatever_the_log_says_nothing_negative_comes_out(told: list[tuple[str, dict[str, Any]]]) -> None:
    assert all(count >= 0 for count in read_tally(_events(*told)).as_dict().values())


@pytest.fixture
def rolled_back(tmp_path: Path) -> Path:
    told: list[tuple[float, str, dict[str, Any]]] = [
        (0, "stage_started", {"stage": "train"}),
        (10, "train_started", {"step": 0}),
        (30, "log", {"step": 20, "loss": 2.0}),
        (30, "checkpoint_saved", {"step": 20, "seconds": 0.0}),
        (40, "log", {"step": 30, "loss": None}),
        (40, "rolled_back", {"step": 20, "left_at": 30, "reason": "the loss became nan"}),
        (41, "resumed", {"step": 20, "checkpoint": "checkpoint-20"}),
        (45, "train_started", {"step": 20}),
        (65, "log", {"step": 40, "loss": 1.0}),
        (70, "stage_finished", {"stage": "train"}),
    ]
    lines = [json.dumps({"time": 1000.0 + time, "event": kind, **fields}) for time, kind, fields in told]
    (tmp_path / "events.jsonl").write_text("\n".join(lines) + "\n")
    return tmp_path


def test_what_was_trained_before_a_rollback_is_lost_from_its_checkpoint_on(rolled_back: Path) -> None:
    source = read_run(rolled_back)
    timeline = read_timeline(source)
    assert [span.outcome for span in timeline.spans] == [Outcome.FAILED, Outcome.FINISHED]
    costs = read_costs(source, timeline)
    assert costs.seconds(Kind.LOST) == 10.0 + 5.0  # steps 21 to 30, and loading the checkpoint
    assert costs.seconds(Kind.USEFUL) == 55.0
    assert timeline.stopped == 0.0


def test_the_report_tells_of_it(rolled_back: Path) -> None:
    page = write_report(rolled_back).read_text()
    assert "2 starts, 1 save, 1 resume, 1 rollback; 10 steps done again." in page
    assert "the loss became nan; the batches up to step 30 are left out" in page
