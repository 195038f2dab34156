"""``tunery run --on``, ``render``, ``status`` and their kin, without a cluster."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from workloads.cli.main import main
from workloads.cli.render import _source
from workloads.hub.directory import DirectoryHub
from workloads.runtime import RunPaths

MakeRun = Callable[..., RunPaths]


@pytest.fixture
def spec(
    make_run: MakeRun, built_tiny_model: Path, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A run spec whose base model is in the hub, and a lock in which every image has a digest."""
    DirectoryHub(tmp_path / "hub").publish(built_tiny_model, "tiny", lineage={})
    make_run()
    path = tmp_path / "project" / "run.yaml"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"name": "demo", "base": {"model": "tiny"}}))
    known = json.loads((repository / "configs" / "images.lock.json").read_text())
    for entry in known["images"].values():
        entry["digest"] = f"sha256:{'a' * 64}"
    lock = tmp_path / "images.lock.json"
    lock.write_text(json.dumps(known))
    monkeypatch.setenv("TUNERY_IMAGES", str(lock))
    monkeypatch.setenv("TUNERY_PLATFORM", str(repository / "configs" / "platform"))
    monkeypatch.setenv("TUNERY_PRICES", str(repository / "configs" / "prices.json"))
    return path


def call(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    with pytest.raises(SystemExit) as stop:
        main(list(arguments))
    shown = capsys.readouterr()
    assert stop.value.code == code, shown.out + shown.err
    return shown.out if code == 0 else shown.out + shown.err


def edit(spec: Path, **more: Any) -> None:
    spec.write_text(json.dumps(json.loads(spec.read_text()) | more))


def test_a_dry_run_prints_what_would_be_sent(spec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    printed = call(capsys, "run", str(spec), "--on", "dev", "--dry-run")
    (workflow,) = yaml.safe_load_all(printed)
    assert workflow["kind"] == "Workflow"
    assert json.loads(call(capsys, "run", str(spec), "--on", "dev", "--dry-run", "--json")) == [workflow]
    assert workflow["metadata"]["name"].startswith("demo-")


def test_a_dry_run_does_not_import_the_client(spec: Path) -> None:
    program = (
        "import sys; from workloads.cli.main import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit as stop: assert stop.code == 0, stop.code\n"
        "assert not {'kubernetes', 'tenacity', 'torch'} & sys.modules.keys()"
    )
    command = [sys.executable, "-c", program, "run", str(spec), "--on", "dev", "--dry-run"]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ, check=False)
    assert done.returncode == 0, done.stderr


def test_images_without_a_digest_stop_a_run_with_all_else_that_is_wrong(
    spec: Path, repository: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNERY_IMAGES", str(repository / "configs" / "images.lock.json"))
    edit(spec, resources={"count": 2, "nodes": 64})
    said = call(capsys, "run", str(spec), "--on", "dev", "--dry-run", code=64)
    assert "The image trainer has no digest yet." in said
    assert "asks for 128 GPUs" in said


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"team": "reserch"}, "did you mean 'research'"),
        ({"resources": {"pool": "l4x9"}}, "did you mean 'l4x2'"),
        ({"resources": {"accelerator": "h100"}}, "No pool of dev has 1 GPUs h100"),
        ({"resources": {"nodes": 7, "pool": "l4x1"}}, "asks for 7 GPUs of pool l4x1"),
        ({"resources": {"nodes": 2}, "name": "n" * 39}, "shorten the run spec's name by 1"),
    ],
)
def test_what_an_environment_does_not_have(
    spec: Path, capsys: pytest.CaptureFixture[str], change: dict[str, Any], words: str
) -> None:
    edit(spec, **change)
    assert words in call(capsys, "run", str(spec), "--on", "dev", "--dry-run", code=64)


def test_a_budget_is_a_limit(spec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edit(spec, team="support", resources={"nodes": 8, "pool": "l4x1", "max_hours": 720, "capacity": "on-demand"})
    said = call(capsys, "run", str(spec), "--on", "prod", "--dry-run", code=64)
    assert "the budget of team support is 1,500.00 a month" in said
    edit(spec, resources={"nodes": 1, "pool": "l4x1", "max_hours": 10})
    call(capsys, "run", str(spec), "--on", "prod", "--dry-run")


def test_a_training_that_does_not_fit_its_gpus(
    spec: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workloads.engines.cluster_estimate.model_config", lambda _base: LLAMA)
    said = call(capsys, "run", str(spec), "finetuning_type=full", "--on", "dev", "--dry-run", code=64)
    assert "GB on each GPU, and a NVIDIA L4 24 GB of pool l4x1" in said
    assert "finetuning_type=lora" in said


LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
}


def test_render_writes_a_folder_for_git(spec: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    to = tmp_path / "deliver"
    answer = json.loads(call(capsys, "render", str(spec), "--on", "dev", "--to", str(to), "--json"))
    assert sorted(each.name for each in to.iterdir()) == [
        "kustomization.yaml",
        "workflow.yaml",
    ]
    assert answer["uploaded"] is False
    listed = yaml.safe_load((to / "kustomization.yaml").read_text())["resources"]
    kinds = [yaml.safe_load((to / name).read_text())["kind"] for name in listed]
    assert kinds == ["Workflow"]


def test_render_for_argo_cd(spec: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    edit(spec, team="research")
    to = tmp_path / "deliver"
    url = "https://git.example.com/llm/deliver.git"
    call(capsys, "render", str(spec), "--on", "prod", "--to", str(to), "--repository", url, "--revision", "main")
    source = yaml.safe_load((to / "application.yaml").read_text())["spec"]["source"]
    assert source == {"repoURL": url, "path": "deliver", "targetRevision": "main"}
    assert "application.yaml" not in (to / "kustomization.yaml").read_text()


def test_a_clone_s_remote_is_named_without_its_credentials(tmp_path: Path) -> None:
    create = ["git", "init", "-q", str(tmp_path)]
    subprocess.run(create, check=True)
    remote = ["git", "-C", str(tmp_path), "remote", "add", "origin", "https://x:secret@git.example.com/a.git"]
    subprocess.run(remote, check=True)
    found = _source(tmp_path / "runs" / "demo", None, "HEAD")
    assert (found.repository, found.path) == ("https://git.example.com/a.git", "runs/demo")


@pytest.mark.parametrize("verb", ["logs", "cancel", "retry", "approve", "status"])
def test_a_run_that_nobody_remembers(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "name the environment with --on ENV" in call(capsys, verb, "demo-1", code=64)


def test_the_status_of_a_run_on_this_machine(make_run: MakeRun, capsys: pytest.CaptureFixture[str]) -> None:
    paths = make_run()
    found = json.loads(call(capsys, "status", paths.root.name, "--json"))
    assert (found["state"], found["place"]) == ("created", "this machine")
    assert [each["state"] for each in found["stages"]] == ["waiting"] * 5
    assert "GPU-hours" in call(capsys, "status", paths.root.name)
