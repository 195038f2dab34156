from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workloads.events import EventLog, read_events


def test_events_come_back_in_order_with_their_time(tmp_path: Path) -> None:
    times = iter([1.0, 2.5])
    log = EventLog(tmp_path / "run" / "events.jsonl", clock=lambda: next(times))
    log.append("stage_started", stage="train")
    log.append("stage_finished", stage="train", seconds=1.5)
    events, _ = read_events(log.path)
    assert events == [
        {"time": 1.0, "event": "stage_started", "stage": "train"},
        {"time": 2.5, "event": "stage_finished", "stage": "train", "seconds": 1.5},
    ]


def test_an_absent_log_is_empty(tmp_path: Path) -> None:
    assert read_events(tmp_path / "events.jsonl") == ([], 0)


@given(cut=st.integers(0, 200))
def test_a_torn_last_line_waits_for_the_next_reading(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    path = tmp_path_factory.mktemp("events") / "events.jsonl"
    log = EventLog(path, clock=lambda: 0.0)
    for number in range(5):
        log.append("log", step=number)
    whole = path.read_bytes()
    path.write_bytes(whole[:cut])
    first, offset = read_events(path)
    path.write_bytes(whole)
    rest, _ = read_events(path, offset)
    assert [event["step"] for event in first + rest] == [0, 1, 2, 3, 4]


def test_a_line_that_is_not_an_event_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text('garbage\n[1]\n{"event": "log"}\n')
    assert read_events(path)[0] == [{"event": "log"}]
