"""From the event log to attempts, stops and a state."""

from __future__ import annotations

from typing import Any

import pytest

from workloads.report.source import RunSource, read_run
from workloads.report.timeline import Outcome, Timeline, read_state, read_timeline


def told(run: Any) -> tuple[RunSource, Timeline]:
    source = read_run(run.paths.root)
    return source, read_timeline(source)


def test_a_run_that_was_stopped_and_killed_has_three_attempts_and_two_stops(run: Any) -> None:
    run.whole()
    source, timeline = told(run)
    outcomes = [span.outcome for span in timeline.spans if span.stage == "train"]
    assert outcomes == [Outcome.PREEMPTED, Outcome.CUT, Outcome.FINISHED]
    assert [round(stop.seconds, 3) for stop in timeline.stops] == [43.0, 12.0]
    assert timeline.worked + timeline.stopped == pytest.approx(timeline.end - timeline.start)
    assert read_state(source, timeline).title == "Published"


def test_a_run_stopped_between_stages_shows_the_stop(run: Any) -> None:
    run.stage("fetch", 1.0)
    run.event("stage_skipped", 30.0, stage="fetch")
    run.stage("prepare", 2.0)
    _, timeline = told(run)
    assert [stop.seconds for stop in timeline.stops] == [30.0]
    assert timeline.worked == 3.0


def test_stages_that_follow_one_another_have_no_stop_between_them(run: Any) -> None:
    run.stage("fetch", 1.0)
    run.now += 0.5
    run.stage("prepare", 2.0)
    assert told(run)[1].stops == ()


def test_a_clock_that_was_set_back_never_makes_time_negative(run: Any) -> None:
    run.event("stage_started", stage="fetch")
    run.event("stage_finished", -3600.0, stage="fetch")
    run.stage("prepare", 1.0)
    _, timeline = told(run)
    assert all(span.seconds >= 0 for span in timeline.spans)
    assert timeline.worked >= 0


def test_a_stage_without_events_is_taken_from_its_marker(run: Any) -> None:
    run.write(
        run.paths.marker("fetch"),
        {"started": "2026-02-02T02:40:00+00:00", "finished": "2026-02-02T02:40:02+00:00", "outputs": {}},
    )
    _, timeline = told(run)
    assert [(span.stage, span.seconds) for span in timeline.spans] == [("fetch", 2.0)]


@pytest.mark.parametrize(
    ("last", "name"),
    [
        (("stage_failed", {"stage": "train", "problems": [{"message": "no", "code": "invalid"}]}), "failed"),
        (("stage_failed", {"stage": "train", "problems": [{"message": "no", "code": "gate"}]}), "gate"),
        (("preempted", {"step": 3}), "preempted"),
        (("log", {"step": 3, "loss": 1.0}), "unfinished"),
        (("stage_finished", {"stage": "train"}), "unfinished"),
    ],
)
def test_the_last_thing_that_happened_decides_the_state(run: Any, last: tuple[str, dict[str, Any]], name: str) -> None:
    run.record()
    run.event("stage_started", stage="train")
    run.event(last[0], 1.0, **last[1])
    state = read_state(*told(run))
    assert state.name == name
    assert "tunery run --resume demo-3f2a91c07b" in state.explanation or name == "gate"


def test_a_run_without_publication_is_finished_when_its_own_stages_are(run: Any) -> None:
    run.record(spec={"name": "demo"})
    for stage in ("fetch", "prepare", "train", "evaluate", "export"):
        run.stage(stage, 1.0)
    assert read_state(*told(run)).title == "Finished"


def test_a_stage_skipped_in_the_middle_of_one_process_is_no_stop(run: Any) -> None:
    run.event("stage_skipped", stage="fetch")
    run.stage("prepare", 2.0)
    run.event("stage_skipped", 0.4, stage="train")
    run.stage("evaluate", 1.0)
    assert told(run)[1].stops == ()
