"""When a stop leads to a save, and when it leaves at once: the callback with ranks of the test's own."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from workloads.errors import Preempted
from workloads.events import EventLog, read_events
from workloads.runtime import RunPaths
from workloads.storage import manifest
from workloads.training.callbacks import WorkerCallback
from workloads.training.checkpoints import Retention
from workloads.training.coordination import Alone
from workloads.training.saving import Saver
from workloads.training.signals import StopRequest, grace_seconds


class Follower(Alone):
    """A rank that hears from the others what it has not heard itself."""

    first = False
    size = 2

    def __init__(self, age: float | None, choice: bool) -> None:
        self.age = age
        self.choice = choice

    def longest(self, seconds: float | None) -> float | None:
        return self.age

    def decide(self, choice: bool) -> bool:
        return self.choice


class Training:
    """What the trainer does around its callback, with a clock that only saves move."""

    def __init__(self, root: Path, **callback: Any) -> None:
        self.paths = RunPaths(root)
        self.stop = StopRequest()
        self.now = 0.0
        events = EventLog(self.paths.events)
        saver = Saver(events, Retention(3), clock=lambda: self.now)
        self.callback = WorkerCallback(self.paths, events, self.stop, saver, clock=lambda: self.now, **callback)
        self.args: Any = SimpleNamespace(output_dir=str(self.paths.checkpoints))
        self.state: Any = SimpleNamespace(
            global_step=0, max_steps=100, is_world_process_zero=True, best_model_checkpoint=None
        )

    def step(self) -> Any:
        self.state.global_step += 1
        control: Any = SimpleNamespace(should_save=False, should_training_stop=False)
        return self.callback.on_step_end(self.args, self.state, control)

    def save(self, seconds: float) -> None:
        folder = self.paths.checkpoints / f"checkpoint-{self.state.global_step}"
        folder.mkdir(parents=True)
        (folder / "weights").write_text("x")
        self.now += seconds
        self.callback.on_save(self.args, self.state, SimpleNamespace())

    def events(self, name: str) -> list[dict[str, Any]]:
        return [event for event in read_events(self.paths.events)[0] if event["event"] == name]


def test_a_stop_saves_at_the_end_of_the_step_and_leaves(tmp_path: Path) -> None:
    training = Training(tmp_path, grace=15.0)
    assert not training.step().should_save
    training.stop.request()
    assert training.step().should_save
    with pytest.raises(Preempted, match="saved step 2 of 100"):
        training.save(1.0)
    assert manifest.damage(tmp_path / "checkpoints" / "checkpoint-2") == []
    assert training.events("preempted")[0]["step"] == 2


def test_a_save_that_does_not_fit_the_grace_is_not_begun(tmp_path: Path) -> None:
    training = Training(tmp_path, grace=15.0)
    training.step()
    training.save(12.0)
    training.step()
    training.stop.request()
    with pytest.raises(Preempted, match="too little time for a save of 12"):
        training.step()
    assert training.events("preempted")[0] | {"time": 0} == {
        "time": 0,
        "event": "preempted",
        "step": 1,
        "max_steps": 100,
        "lost": 2,
    }


@pytest.mark.parametrize(("grace", "before"), [(None, True), (15.0, False)])
def test_without_a_limit_or_a_checkpoint_there_is_nothing_to_lose(
    tmp_path: Path, grace: float | None, before: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TUNERY_GRACE_SECONDS", raising=False)
    training = Training(tmp_path, grace=grace)
    training.step()
    if before:
        training.save(100.0)
    training.stop.request()
    assert training.step().should_save


def test_a_stop_during_a_save_leaves_with_that_save(tmp_path: Path) -> None:
    training = Training(tmp_path, grace=15.0)
    training.step()
    training.stop.request()
    with pytest.raises(Preempted, match="saved step 1"):
        training.save(3.0)


def test_a_training_that_is_at_its_end_ends(tmp_path: Path) -> None:
    training = Training(tmp_path)
    training.state.max_steps = 1
    training.stop.request()
    training.step()
    training.save(1.0)
    assert training.events("preempted") == []


def test_a_rank_that_heard_nothing_does_as_the_others_and_writes_nothing(tmp_path: Path) -> None:
    training = Training(tmp_path, ranks=Follower(0.5, choice=True))
    assert training.step().should_save
    with pytest.raises(Preempted):
        training.save(1.0)
    assert read_events(training.paths.events)[0] == []
    assert manifest.read(tmp_path / "checkpoints" / "checkpoint-1") is None
    with pytest.raises(Preempted, match="too little time"):
        Training(tmp_path / "late", ranks=Follower(14.0, choice=False)).step()


def test_a_rank_that_heard_of_a_stop_goes_on_until_all_know(tmp_path: Path) -> None:
    training = Training(tmp_path, ranks=Follower(None, choice=True))
    training.stop.request()
    assert not training.step().should_save
    training.save(1.0)
    assert training.step().should_training_stop is False


@pytest.mark.parametrize(("value", "expected"), [(None, None), ("", None), ("soon", None), ("10", 10.0)])
def test_the_grace_is_what_the_environment_says(value: str | None, expected: float | None) -> None:
    assert grace_seconds({} if value is None else {"TUNERY_GRACE_SECONDS": value}) == expected
