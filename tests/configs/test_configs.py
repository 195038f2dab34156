"""Every committed training config is accepted, and those for the tiny model train for real."""

import json
from pathlib import Path

import pytest
import yaml

from workloads.errors import Problem
from workloads.runtime import RunPaths
from workloads.stages.context import RunContext
from workloads.stages.runner import run_stages
from workloads.storage import manifest
from workloads.training_config import check_config, load_config

ROOT = Path(__file__).parents[2]
CONFIGS = sorted((ROOT / "configs" / "training").glob("*.yaml"))
TINY = [path for path in CONFIGS if path.name.startswith("tiny-")]


def _errors(problems: list[Problem]) -> list[str]:
    return [str(problem) for problem in problems if not problem.is_warning]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_it_passes_the_check(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert _errors(check_config(load_config(path))) == []


def test_every_style_is_there() -> None:
    styles = set()
    for path in TINY:
        config = yaml.safe_load(path.read_text())
        styles.add((config["stage"], config["finetuning_type"], config.get("quantization_bit")))
    assert styles >= {
        ("sft", "lora", None),
        ("sft", "lora", 4),
        ("sft", "full", None),
        ("sft", "freeze", None),
        ("dpo", "lora", None),
        ("kto", "lora", None),
        ("rm", "lora", None),
    }
    assert "pt" in {stage for stage, _, _ in styles}


@pytest.mark.training
@pytest.mark.parametrize("path", TINY, ids=lambda path: path.stem)
def test_it_trains_evaluates_and_exports(
    path: Path, built_tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from workloads.engines.create import create, plan
    from workloads.run_spec_loader import load_run_spec
    from workloads.runtime import runs_dir

    monkeypatch.chdir(ROOT)
    overrides = [f"model_name_or_path={built_tiny_model}", "max_steps=3", "save_steps=2", "max_samples=24"]
    paths: RunPaths = create(plan(load_run_spec(path, overrides)), runs_dir())
    context = RunContext.open(paths.root)
    run_stages(context, ["fetch", "prepare", "train", "evaluate", "export"])
    assert json.loads(paths.marker("train").read_text())["outputs"]["steps"] == 3
    assert manifest.damage(paths.export) == []
