"""A run with a preset: chosen, installed, measured, given up where memory is too small, resumed to the same bits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import TrainerState

from workloads.errors import InputError, Preempted
from workloads.events import EventLog, read_events
from workloads.runtime import RunPaths
from workloads.stages.context import RunContext
from workloads.stages.runner import run_stages
from workloads.training.fast.trainer import FastTrainer
from workloads.training.signals import StopRequest
from workloads.training.speed import Measured, choose_here, lengths_of, mode_of, this_device
from workloads.training.worker import train
from workloads.training_config.levels import Level
from workloads.training_config.preset import Choice, Device

MakeRun = Callable[..., RunPaths]
PACKED: dict[str, Any] = {
    "neat_packing": True, "cutoff_len": 128, "per_device_train_batch_size": 2, "val_size": 0.0, "max_steps": 8,
    "save_steps": 3,
}  # fmt: skip


def _prepared(paths: RunPaths) -> RunContext:
    context = RunContext.open(paths.root)
    run_stages(context, ["fetch", "prepare"])
    return context


def _train(context: RunContext, stop: StopRequest | None = None) -> dict[str, torch.Tensor]:
    train(context.config, context.paths, context.base_model, context.events, stop or StopRequest())
    return load_file(context.paths.trained / "adapter_model.safetensors")


def _events(paths: RunPaths, name: str) -> list[dict[str, Any]]:
    return [event for event in read_events(paths.events)[0] if event["event"] == name]


@pytest.mark.training
def test_a_run_says_what_was_chosen_installed_and_measured(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    weights = []
    for mode in ("none", "fast"):
        monkeypatch.setenv("TUNERY_RUNS", str(tmp_path / mode))
        paths = make_run(PACKED, {"preset": mode})
        weights.append(_train(_prepared(paths)))
    for name, weight in weights[0].items():
        torch.testing.assert_close(weights[1][name], weight, rtol=1e-3, atol=5e-5)
    [chosen] = _events(paths, "preset")
    assert chosen["level"] == "layer"
    assert "because llama is a family whose layer is one node" in chosen["because"][0]
    [installed] = _events(paths, "preset_installed")
    assert (installed["level"], installed["refused"]) == ("layer", [])
    [measured] = _events(paths, "preset_measured")
    assert measured["tokens_per_second"] > 0
    assert measured["predicted_tokens_per_second"] is None


@pytest.mark.training
def test_by_default_a_cpu_trains_as_llamafactory_does(make_run: MakeRun) -> None:
    paths = make_run(PACKED)
    context = _prepared(paths)
    choice = choose_here(context.config, paths, context.base_model, mode_of(paths), 1)
    assert mode_of(paths) == "auto"
    assert (choice.level, choice.changes) == (Level.PLAIN, {})
    assert "no GPU" in choice.lines[0].because


@pytest.mark.training
@pytest.mark.slow
def test_a_fast_training_that_was_interrupted_ends_with_the_same_bits(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config = PACKED | {"lora_dropout": 0.1, "gradient_accumulation_steps": 2}
    weights = []
    for name, stops in (("whole", ()), ("interrupted", (3, 5))):
        monkeypatch.setenv("TUNERY_RUNS", str(tmp_path / name))
        paths = make_run(config, {"preset": "fast"})
        context = _prepared(paths)
        for step in stops:
            stop = StopRequest()
            with pytest.raises(Preempted, match=f"saved step {step} of"):
                train(context.config, paths, context.base_model, _StopsAt(paths.events, stop, step - 1), stop)
        weights.append(_train(context))
    assert [event["step"] for event in _events(paths, "resumed")] == [3, 5]
    assert {event["level"] for event in _events(paths, "preset_installed")} == {"lora"}
    assert all(torch.equal(weight, weights[1][name]) for name, weight in weights[0].items())


@pytest.mark.training
@pytest.mark.slow
def test_two_processes_learn_what_they_learn_without_the_preset(gang_run: Callable[..., Any]) -> None:
    weights = []
    for mode in ("none", "fast"):
        run = gang_run(PACKED | {"gradient_accumulation_steps": 2}, mode, {"preset": mode})
        run.launch()
        assert run.wait() == 0, run.log()
        weights.append(load_file(run.paths.trained / "adapter_model.safetensors"))
    assert [event["level"] for event in run.events("preset_installed")] == ["layer"]
    for name, weight in weights[0].items():
        torch.testing.assert_close(weights[1][name], weight, rtol=1e-3, atol=5e-5)


class _StopsAt(EventLog):
    """Asks for a stop when a step is logged, so that the next one is the last."""

    def __init__(self, path: Path, stop: StopRequest, step: int) -> None:
        super().__init__(path)
        object.__setattr__(self, "wanted", (stop, step))

    def append(self, event: str, **fields: Any) -> None:
        super().append(event, **fields)
        stop, step = self.__dict__["wanted"]
        if event == "log" and fields["step"] == step:
            stop.request()


@pytest.mark.training
def test_where_memory_is_too_small_the_preset_is_given_up(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(FastTrainer, "compute_loss", full)
    paths = make_run(PACKED | {"max_steps": 2}, {"preset": "fast"})
    context = _prepared(paths)
    assert _train(context)
    assert "out of memory" in _events(paths, "preset_given_up")[0]["reason"]
    assert [event["level"] for event in _events(paths, "preset")] == ["layer", "plain"]


@pytest.mark.training
def test_the_lengths_of_tokenized_rows_are_counted(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = make_run(PACKED)
    assert lengths_of(paths.tokenized) is None
    _prepared(paths)
    every = lengths_of(paths.tokenized)
    assert every is not None
    assert every.exact
    assert 64 < every.mean <= every.longest <= 129
    monkeypatch.setattr("workloads.training.speed._LOOKED_AT", 4)
    some = lengths_of(paths.tokenized)
    assert some is not None
    assert (some.rows, some.exact) == (every.rows, False)


def test_a_model_that_the_estimate_does_not_know_trains_as_llamafactory_has_it(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("workloads.training.speed.this_device", lambda: Device("a GPU", bytes=10**10))
    paths = make_run(PACKED)
    assert choose_here(PACKED, paths, tmp_path, "fast", 1).level == Level.PLAIN
    (tmp_path / "config.json").write_text('{"model_type": "qwen3", "num_attention_heads": 2, "head_dim": 8}')
    choice = choose_here(PACKED, paths, tmp_path, "fast", 1)
    assert choice.level == Level.PLAIN
    assert "hidden_size is missing" in choice.lines[0].because


def test_steps_that_do_something_else_are_not_counted(tmp_path: Path) -> None:
    now = 0.0
    measured = Measured(
        Choice(Level.FLAT, memory=7, tokens_per_second=90.0), EventLog(tmp_path / "events"), lambda: now
    )
    state = TrainerState()
    for step in range(1, 9):
        now += 1.0
        state.num_input_tokens_seen += 100
        measured.on_step_end(None, state, None)
        if step == 5:  # an evaluation, after which a step seems long
            measured.on_evaluate(None, state, None)
            now += 60.0
    measured.on_train_end(None, state, None)
    [event] = read_events(tmp_path / "events")[0]
    assert event["tokens_per_second"] == pytest.approx(100.0)
    assert (event["predicted_tokens_per_second"], event["predicted_memory"]) == (90.0, 7)


def test_a_short_training_has_no_measured_speed(tmp_path: Path) -> None:
    Measured(Choice(Level.FLAT), EventLog(tmp_path / "events")).on_train_end(None, TrainerState(), None)
    assert read_events(tmp_path / "events")[0][0]["tokens_per_second"] is None


@pytest.mark.skipif(torch.cuda.is_available(), reason="here is a GPU")
def test_without_a_gpu_the_device_is_the_cpu() -> None:
    assert not this_device().cuda


def test_a_spec_takes_no_other_word(make_run: MakeRun) -> None:
    with pytest.raises(InputError, match="preset"):
        make_run(PACKED, {"preset": "quick"})
