"""Which tokens count, and a real training that is measured."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from workloads.bench.figures import PARTS, Block, Step
from workloads.bench.probe import measured_peak, process_age, real_tokens
from workloads.cli.bench import bench
from workloads.runtime import RunPaths
from workloads.stages.context import RunContext
from workloads.stages.runner import run_stages
from workloads.training.world import World


def block(seconds: list[float]) -> Block:
    steps = [Step(each, 90, 100, {"data": 0.1}) for each in seconds]
    return Block("cpu", 1e9, 5, 7, 0, {"first_step": 2.0}, steps, {})


IDS = torch.tensor([[5, 6, 7, 0], [5, 6, 0, 0]])


def test_a_mask_of_rows_says_what_is_padding() -> None:
    mask = torch.tensor([[1, 1, 2, 0], [1, 1, 0, 0]])  # two documents in the first row
    assert real_tokens({"input_ids": IDS, "attention_mask": mask}, 0) == 5


@pytest.mark.parametrize("additive", [True, False])
def test_a_square_mask_says_it_by_its_diagonal(additive: bool) -> None:
    own = torch.tensor([[True, True, True, False], [True, True, False, False]])
    seen = torch.zeros(2, 1, 4, 4, dtype=torch.bool)
    seen[:, 0] = torch.diag_embed(own)
    mask = torch.where(seen, 0.0, torch.finfo(torch.float32).min) if additive else seen
    assert real_tokens({"input_ids": IDS, "attention_mask": mask}, 0) == 5


def test_without_a_mask_a_learnt_token_is_no_padding() -> None:
    labels = torch.tensor([[-100, 6, 7, 0], [5, 6, -100, -100]])
    assert real_tokens({"input_ids": IDS, "labels": labels}, 0) == 6
    assert real_tokens({"input_ids": IDS}, 0) == 5
    assert real_tokens({"input_ids": IDS}, None) == 8


def test_the_peak_and_the_age_are_measured() -> None:
    assert measured_peak() > 1e8
    before = process_age()
    assert 0 < before <= process_age()


@pytest.mark.training
def test_a_real_training_is_measured(
    make_run: Callable[..., RunPaths], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_run()  # writes the project's run spec
    bench(tmp_path / "project" / "run.yaml", steps=2, warmup=1, blocks=1, nproc=1, as_json=True)
    [found] = json.loads(capsys.readouterr().out)
    assert found["steps"] == 2
    assert found["device"] == "cpu"
    assert found["tokens_per_second"] > 0
    assert set(found["parts"]) == set(PARTS)
    assert 0 <= found["padding"] < 1
    assert len(found["losses"]) == 3


def test_two_configs_are_measured_in_turn(
    make_run: Callable[..., RunPaths],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    make_run()
    first = tmp_path / "project" / "run.yaml"
    second = first.with_name("other.yaml")
    second.write_text(first.read_text())
    order: list[str] = []

    def measured(paths: RunPaths, world: World, number: int) -> list[Block]:
        mark_fetched(paths)
        order.append(paths.root.parent.name)
        return [block([9.0, 1.0, 1.0 + int(order[-1])])]

    monkeypatch.setattr("workloads.bench.blocks._block", measured)
    bench(first, against=second, steps=2, warmup=1, blocks=2, nproc=1)
    assert order == ["0", "1", "1", "0"]
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["real", "tokens/s", "90", "60", "1.50"] in lines


def mark_fetched(paths: RunPaths) -> None:
    context = RunContext.open(paths.root)
    run_stages(context, ["fetch"])
