"""Copies of what the trainer saves: whole, the same bytes, and never more than one checkpoint's."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st

from workloads.errors import Preempted
from workloads.events import EventLog
from workloads.runtime import RunPaths
from workloads.stages.context import RunContext
from workloads.stages.runner import run_stages
from workloads.storage import manifest
from workloads.training import snapshot
from workloads.training.arguments import may_be_written_later
from workloads.training.callbacks import WorkerCallback
from workloads.training.checkpoints import Retention, newest_verified
from workloads.training.saving import Saver
from workloads.training.signals import StopRequest
from workloads.training.snapshot import Snapshots, free_host_memory, write_safetensors
from workloads.training.worker import train

TYPES = [torch.float32, torch.bfloat16, torch.float16, torch.int64, torch.int32, torch.uint8, torch.bool, torch.float64]
_PATIENCE = 20.0


@pytest.fixture
def make_snapshots(tmp_path: Path) -> Iterator[Callable[..., Snapshots]]:
    made: list[Snapshots] = []

    def make(least_bytes: int = 0, free: int = 1 << 30) -> Snapshots:
        made.append(Snapshots(tmp_path, least_bytes, lambda: free))
        return made[-1]

    yield make
    for each in made:
        each.close()


def _folder(tmp_path: Path, step: int) -> Path:
    folder = tmp_path / f"checkpoint-{step}"
    folder.mkdir()
    return folder


@given(
    st.dictionaries(
        st.text(max_size=5),
        st.tuples(st.sampled_from(TYPES), st.lists(st.integers(0, 3), max_size=3)),
        max_size=5,
    ),
    st.none() | st.just({"format": "pt"}),
)
def test_safetensors_files_are_those_of_the_library(
    tmp_path_factory: pytest.TempPathFactory,
    shapes: dict[str, tuple[torch.dtype, list[int]]],
    metadata: dict[str, str] | None,
) -> None:
    tensors = {name: (torch.randn(shape) * 3).to(kind) for name, (kind, shape) in shapes.items()}
    folder = tmp_path_factory.mktemp("files")
    write_safetensors(tensors, folder / "ours", metadata)
    safetensors.torch.save_file(tensors, folder / "theirs", metadata)
    assert (folder / "ours").read_bytes() == (folder / "theirs").read_bytes()


def test_what_is_written_is_what_was_there_when_it_was_saved(
    tmp_path: Path, make_snapshots: Callable[..., Snapshots], monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()
    real = snapshot.write_safetensors

    def slow(*args: Any) -> None:
        assert go_on.wait(_PATIENCE)
        real(*args)

    monkeypatch.setattr(snapshot, "write_safetensors", slow)
    folder, other = _folder(tmp_path, 4), tmp_path / "elsewhere.pt"
    weights = {"w": torch.arange(6.0).reshape(2, 3)}
    state = {
        "state": {0: {"step": torch.tensor(4.0), "exp_avg": torch.ones(3)}},
        "groups": [{"lr": 0.1, "betas": (0.9, 1)}],
    }
    copies = make_snapshots()
    with copies.taking():
        safetensors.torch.save_file(weights, folder / "w.safetensors", metadata={"format": "pt"})
        torch.save(state, folder / "optimizer.pt")
        torch.save(state, other)
        assert copies.has(folder)
        assert not (folder / "w.safetensors").exists()
        assert other.exists()  # not in a checkpoint: the result, say
        weights["w"].zero_()
        state["state"][0]["exp_avg"].zero_()  # type: ignore[index]
    go_on.set()
    copies.wait()
    assert torch.equal(safetensors.torch.load_file(folder / "w.safetensors")["w"], torch.arange(6.0).reshape(2, 3))
    found = torch.load(folder / "optimizer.pt", weights_only=True)
    assert torch.equal(found["state"][0]["exp_avg"], torch.ones(3))
    assert found["groups"] == state["groups"]
    assert torch.load(other, weights_only=True)["groups"] == state["groups"]


def test_the_next_checkpoint_waits_and_takes_the_same_memory(
    tmp_path: Path, make_snapshots: Callable[..., Snapshots]
) -> None:
    copies = make_snapshots()
    first, second = _folder(tmp_path, 1), _folder(tmp_path, 2)
    with copies.taking():
        torch.save({"a": torch.ones(4)}, first / "optimizer.pt")
        torch.save({"a": torch.zeros(4)}, second / "optimizer.pt")
        assert not copies.has(first)
        torch.save({"a": torch.full((4,), 2.0)}, second / "optimizer.pt")
    copies.wait()
    assert torch.load(first / "optimizer.pt")["a"].tolist() == [1.0] * 4
    assert torch.load(second / "optimizer.pt")["a"].tolist() == [2.0] * 4
    assert len(copies._pool) == 1


class Changing:
    """Something that may change while it is written."""


@pytest.mark.parametrize(
    "value",
    [
        {"a": torch.nn.Parameter(torch.ones(8))},
        {"a": torch.ones(8), "b": Changing()},
        {"a": torch.ones(8).to_sparse()},
        {"a": torch.ones(8, dtype=torch.complex64)},
    ],
    ids=["parameter", "object", "sparse", "type"],
)
def test_what_cannot_be_copied_as_data_is_written_at_once(
    tmp_path: Path, make_snapshots: Callable[..., Snapshots], value: dict[str, Any]
) -> None:
    folder, copies = _folder(tmp_path, 1), make_snapshots()
    with copies.taking():
        torch.save(value, folder / "x.pt")
        assert (folder / "x.pt").exists()
    assert not copies.has(folder)


@pytest.mark.parametrize(("least", "free"), [(1 << 20, 1 << 30), (0, 10)], ids=["small", "no memory"])
def test_small_files_and_those_without_room_are_written_at_once(
    tmp_path: Path, make_snapshots: Callable[..., Snapshots], least: int, free: int
) -> None:
    folder, copies = _folder(tmp_path, 1), make_snapshots(least, free)
    with copies.taking():
        torch.save(OrderedDict(a=torch.ones(8)), folder / "x.pt")
    assert (folder / "x.pt").exists()
    assert not copies.has(folder)


def test_a_checkpoint_does_not_count_before_its_copies_are_written(
    tmp_path: Path, make_snapshots: Callable[..., Snapshots], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(snapshot, "write_safetensors", full)
    folder, copies = _folder(tmp_path, 4), make_snapshots()
    saver = Saver(EventLog(tmp_path / "events.jsonl"), Retention(2), snapshots=copies)
    with copies.taking():
        safetensors.torch.save_file({"w": torch.ones(3)}, folder / "w.safetensors")
        saver.begin(folder, 4, 0.0)
    with pytest.raises(OSError, match="No space left"):
        saver.settle()
    saver.close()
    assert newest_verified(tmp_path, tmp_path / "damaged")[0] is None


def test_the_memory_of_a_control_group_counts(tmp_path: Path) -> None:
    unlimited = free_host_memory(tmp_path)
    assert unlimited > 0
    (tmp_path / "memory.max").write_text("1000000\n")
    (tmp_path / "memory.current").write_text("900000\n")
    (tmp_path / "memory.stat").write_text("anon 1\ninactive_file 250000\n")
    assert free_host_memory(tmp_path) == 350000
    (tmp_path / "memory.max").write_text("max\n")
    assert free_host_memory(tmp_path) == pytest.approx(unlimited, rel=0.5)


@pytest.mark.parametrize(
    ("config", "may"),
    [({}, True), ({"stage": "dpo"}, True), ({"stage": "rm"}, False), ({"load_best_model_at_end": True}, False)],
)
def test_files_that_are_read_again_are_written_at_once(config: dict[str, Any], may: bool) -> None:
    assert may_be_written_later(config) is may


@pytest.mark.training
def test_a_training_writes_the_same_checkpoints_and_resumes_from_them(
    make_run: Callable[..., RunPaths], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config = {"finetuning_type": "full", "max_steps": 8, "save_steps": 3, "val_size": 0.0}
    taken: list[str] = []
    real = Snapshots._take

    def take(self: Snapshots, *what: Any) -> bool:
        done = real(self, *what)
        if done:
            taken.append(Path(what[-1]).name)
        return done

    monkeypatch.setattr(Snapshots, "_take", take)
    ends = []
    for name, least in (("at once", snapshot.LEAST_BYTES), ("later", 1)):
        monkeypatch.setattr(snapshot.Snapshots.__init__, "__defaults__", (least, None))
        monkeypatch.setenv("TUNERY_RUNS", str(tmp_path / name))
        paths = make_run(config)
        context = RunContext.open(paths.root)
        run_stages(context, ["fetch", "prepare"])
        stop = StopRequest()
        with monkeypatch.context() as patched:
            _stop_after(patched, stop, 4)
            with pytest.raises(Preempted):
                train(context.config, paths, context.base_model, context.events, stop)
        train(context.config, paths, context.base_model, context.events, StopRequest())
        found = manifest.read(paths.checkpoints / "checkpoint-6")
        assert found is not None
        ends.append({each.path: each.sha256 for each in found.files if each.path.endswith((".safetensors", ".pt"))})
        assert bool(taken) is (least == 1)
    assert {"model.safetensors", "optimizer.pt"} <= {*taken}
    assert ends[0] == ends[1]


def _stop_after(patched: pytest.MonkeyPatch, stop: StopRequest, step: int) -> None:
    real = WorkerCallback.on_step_end

    def on_step_end(self: WorkerCallback, args: Any, state: Any, control: Any, **named: Any) -> Any:
        if state.global_step == step:
            stop.request()
        return real(self, args, state, control, **named)

    patched.setattr(WorkerCallback, "on_step_end", on_step_end)
