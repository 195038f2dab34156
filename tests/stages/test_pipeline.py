"""Every stage for real, on the tiny model, in this process."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from workloads.errors import InputError
from workloads.events import read_events
from workloads.hub import open_hub
from workloads.hub.interface import ModelReference
from workloads.runtime import RunPaths
from workloads.stages.context import RunContext
from workloads.stages.runner import planned, run_stages
from workloads.storage import manifest
from workloads.storage.atomic import read_json

pytestmark = pytest.mark.training

QUESTIONS = {"evaluation": {"questions": {"file": "questions.jsonl", "max_new_tokens": 8}, "rouge": True}}


def _run(paths: RunPaths) -> RunContext:
    context = RunContext.open(paths.root)
    run_stages(context, planned(context))
    return context


def _names(paths: RunPaths, event: str) -> list[str]:
    return [each["stage"] for each in read_events(paths.events)[0] if each["event"] == event]


def test_from_base_model_to_published_model_and_a_second_call_does_nothing(make_run: Callable[..., RunPaths]) -> None:
    paths = make_run({}, QUESTIONS | {"publish": {"name": "team/numbers"}, "serve": {"question": "Say 3."}})
    context = _run(paths)
    stages = ["fetch", "prepare", "train", "evaluate", "export", "publish", "serve"]
    assert _names(paths, "stage_finished") == stages

    evaluation = read_json(paths.evaluation)
    assert evaluation["after"]["loss"] < evaluation["before"]["loss"]
    assert set(evaluation["after"]) == {"loss", "perplexity", "exact_match", "rouge1", "rougeL"}
    assert len(evaluation["samples"]) == 4

    hub = open_hub()
    version = hub.resolve(ModelReference.parse("team/numbers@candidate"))
    assert version.reference == "team/numbers@v1"
    assert hub.verify(version) == []
    lineage = hub.lineage(version)
    assert lineage["base"]["revision"] == context.record.base.revision
    assert lineage["datasets"][0]["sha256"] == context.record.datasets[0].sha256
    assert lineage["metrics"]["after"] == evaluation["after"]
    assert lineage["versions"]["llamafactory"]
    assert lineage["steps"] == 12

    _run(paths)
    assert _names(paths, "stage_skipped") == stages
    assert [each.version for each in hub.models()] == ["v1"]


def test_the_exported_model_loads_in_plain_transformers(make_run: Callable[..., RunPaths]) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    paths = make_run()
    _run(paths)
    assert manifest.damage(paths.export) == []
    tokenizer = AutoTokenizer.from_pretrained(paths.export)
    model = AutoModelForCausalLM.from_pretrained(paths.export)
    ids = tokenizer("Say 3.", return_tensors="pt").input_ids
    assert torch.isfinite(model(ids).logits).all()
    config = json.loads((paths.export / "tokenizer_config.json").read_text())
    assert config["tokenizer_class"] == "PreTrainedTokenizerFast"


def test_an_adapter_can_be_exported_alone(make_run: Callable[..., RunPaths]) -> None:
    paths = make_run({}, {"export": {"merge": False}})
    _run(paths)
    names = {each.path for each in manifest.scan(paths.export).files}
    assert "adapter_model.safetensors" in names
    assert "model.safetensors" not in names
    assert manifest.damage(paths.export) == []


def test_a_failed_gate_publishes_nothing_and_says_what_fell_short(make_run: Callable[..., RunPaths]) -> None:
    rules = [{"metric": "exact_match", "min": 0.99}, {"metric": "loss", "max": 100}]
    spec = QUESTIONS | {"gate": {"rules": rules}, "publish": {"name": "numbers"}}
    paths = make_run({"max_steps": 2}, spec)
    with pytest.raises(InputError, match=r"exact_match is 0, required is 0\.99") as caught:
        _run(paths)
    assert len(caught.value.problems) == 1
    assert read_json(paths.evaluation)["gate"]["passed"] is False
    assert list(open_hub().models()) == []
    assert not paths.marker("evaluate").exists()


def test_a_stage_whose_output_is_damaged_runs_again(make_run: Callable[..., RunPaths]) -> None:
    paths = make_run()
    _run(paths)
    (paths.export / "model.safetensors").write_bytes(b"short")
    _run(paths)
    assert _names(paths, "stage_finished")[-1] == "export"
    assert manifest.damage(paths.export) == []


def _truncate_weights(model: Path) -> None:
    path = model / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])


def _break_tokenizer(model: Path) -> None:
    (model / "tokenizer.json").write_text("{")


@pytest.mark.parametrize("damage", [_truncate_weights, _break_tokenizer])
def test_a_base_model_that_cannot_be_loaded_is_the_users_to_mend(
    make_run: Callable[..., RunPaths], tiny_model: Path, damage: Callable[[Path], None]
) -> None:
    damage(tiny_model)
    paths = make_run({"model_name_or_path": str(tiny_model)})
    with pytest.raises(InputError, match="base model cannot be loaded"):
        _run(paths)
    assert not paths.trained.exists()


def test_a_base_model_or_data_that_changed_after_the_run_was_made_is_refused(
    make_run: Callable[..., RunPaths], tiny_model: Path
) -> None:
    paths = make_run({"model_name_or_path": str(tiny_model)})
    (tiny_model / "generation_config.json").write_text("{}")
    with pytest.raises(InputError, match="has changed"):
        _run(paths)
    other = make_run()
    Path(RunContext.open(other.root).record.datasets[0].file).write_text("[]")
    with pytest.raises(InputError, match="has changed"):
        _run(other)


def test_a_training_that_did_nothing_is_no_success() -> None:
    from workloads.errors import TuneryError
    from workloads.training.worker import _check_success

    with pytest.raises(TuneryError, match="without training"):
        _check_success({}, False, 0, 0)
    with pytest.raises(TuneryError, match="step 3 of 10"):
        _check_success({}, True, 3, 10)
    _check_success({"early_stopping_steps": 2}, True, 3, 10)
    _check_success({}, True, 10, 10)


NO_SPACE = "No space left on device"
FULL_DISK: list[Any] = [OSError(28, NO_SPACE), RuntimeError(f"I/O error: {NO_SPACE} (os error 28)")]


@pytest.mark.parametrize("error", FULL_DISK)
def test_a_full_disk_is_unavailable_and_the_rerun_continues(
    make_run: Callable[..., RunPaths], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    from workloads.errors import UnavailableError
    from workloads.stages import export

    paths = make_run({"max_steps": 2})

    def fail(_folder: Path) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(export, "make_portable", fail)
        with pytest.raises(UnavailableError, match="disk became full"):
            _run(paths)
    assert not paths.export.exists()
    _run(paths)
    assert _names(paths, "stage_finished").count("train") == 1
