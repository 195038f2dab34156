"""A repository of configs with a git of its own, and environments whose services are folders of this machine."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from engines.conftest import api, kubeconfig  # noqa: F401 fixtures

from infra import contract
from infra.settings_loader import load_all
from workloads.hub.directory import DirectoryHub

LLAMA_8B = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
}
TRAINING: dict[str, Any] = {
    "model_name_or_path": "tiny",
    "stage": "sft",
    "do_train": True,
    "finetuning_type": "lora",
    "dataset": "numbers",
    "dataset_dir": "../../data",
    "template": "qwen",
    "cutoff_len": 64,
    "output_dir": "saves/x",
    "per_device_train_batch_size": 4,
    "learning_rate": 0.001,
    "max_steps": 12,
    "val_size": 0.1,
}


@dataclass(frozen=True)
class Project:
    """A git repository with two run specs of one training config, and what a test does to it."""

    root: Path

    def git(self, *arguments: str) -> str:
        identity = ("-c", "user.name=Ada", "-c", "user.email=ada@example.com", "-c", "commit.gpgsign=false")
        command = ["git", "-C", str(self.root), *identity, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def write(self, place: str, value: Any) -> None:
        path = self.root / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(value if isinstance(value, str) else yaml.safe_dump(value, sort_keys=False))

    def edit(self, place: str, **more: Any) -> None:
        """Sets keys of a YAML file; ``None`` removes one."""
        value = yaml.safe_load((self.root / place).read_text()) | more
        self.write(place, {key: each for key, each in value.items() if each is not None})

    def commit(self, message: str = "change") -> str:
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", message)
        return self.git("rev-parse", "HEAD")


@pytest.fixture(scope="session")
def contracts(repository: Path) -> dict[str, dict[str, Any]]:
    """The contracts of the environments in the repository, as the infrastructure publishes them now."""
    environments = load_all(repository / "configs" / "environments")
    return {each.name: json.loads(contract.render(each)) for each in environments}


@pytest.fixture
def project(
    tmp_path: Path, repository: Path, contracts: dict[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> Project:
    """One commit; the working directory is its root. `kit` is an environment on this machine, `prod` one far away."""
    made = Project(tmp_path / "project")
    rows = [{"instruction": f"Say {n}.", "input": "", "output": f"It is {n}."} for n in range(64)]
    made.write("data/numbers.json", json.dumps(rows))
    made.write("data/dataset_info.json", json.dumps({"numbers": {"file_name": "numbers.json"}}))
    made.write("data/questions.jsonl", json.dumps({"question": "Say 1.", "answer": "It is 1."}))
    made.write("configs/training/tiny.yaml", TRAINING)
    for name in ("one", "two"):
        made.write(
            f"configs/runs/{name}.yaml",
            {
                "name": name,
                "training": "../training/tiny.yaml",
                "base": {"model": "tiny"},
                "team": "research",
                "evaluation": {"questions": {"file": "../../data/questions.jsonl"}},
            },
        )
    local = {"store": str(tmp_path / "store"), "images": dict.fromkeys(("stager", "trainer", "server"), "kit/x:1")}
    kit = contracts["prod"] | {"environment": "kit", "local": local}
    for name, value in (contracts | {"kit": kit}).items():
        made.write(f"configs/platform/{name}.json", json.dumps(value))
    shutil.copy(repository / "configs" / "prices.json", made.root / "configs")
    made.git("init", "-q", "-b", "main")
    made.commit("start")
    monkeypatch.chdir(made.root)
    return made


@pytest.fixture
def tiny_in_hub(built_tiny_model: Path, tmp_path: Path) -> None:
    """The base model of the project's specs, in the hub that is a folder."""
    DirectoryHub(tmp_path / "hub").publish(built_tiny_model, "tiny", lineage={})


@pytest.fixture
def tunery(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """``tunery(*arguments, code=0)`` runs a command line and returns what it printed."""
    from workloads.cli.main import main

    def call(*arguments: str, code: int = 0) -> str:
        with pytest.raises(SystemExit) as stop:
            main(list(arguments))
        shown = capsys.readouterr()
        assert stop.value.code == code, shown.out + shown.err
        return shown.out if code == 0 or "--json" in arguments else shown.out + shown.err

    return call
