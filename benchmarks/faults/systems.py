"""The two that are compared: how each begins, goes on after a fault, and what it has to show at its end."""

from __future__ import annotations

import json
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from workloads.errors import ExitCode
from workloads.runtime import RunPaths

MAX_STEPS, SAVE_STEPS = 12, 4
TRAINING: dict[str, Any] = {
    "stage": "sft",
    "do_train": True,
    "finetuning_type": "lora",
    "dataset": "numbers",
    "template": "qwen",
    "cutoff_len": 64,
    "per_device_train_batch_size": 4,
    "learning_rate": 1e-3,
    "lr_scheduler_type": "inverse_sqrt",  # unlike others it never comes to 0, where a step too many would not show
    "warmup_steps": 3,
    "lora_dropout": 0.1,  # so that a state of the random numbers that is lost shows
    "max_steps": MAX_STEPS,
    "save_steps": SAVE_STEPS,
    "logging_steps": 1,
    "report_to": "none",
}
"""Eight batches are an epoch, so that a resumed training has to find its place in the second one too."""
_ROWS = 32


class System(Protocol):
    """One of the two."""

    @property
    def name(self) -> str:
        """What its column is called."""

    def begin(self, folder: Path) -> None:
        """Makes ``folder`` ready for a first attempt."""

    def work(self, folder: Path) -> int:
        """One attempt, in a process of its own; its exit code."""

    def checkpoints(self, folder: Path) -> Path:
        """Where its checkpoints lie."""

    def result(self, folder: Path) -> Path | None:
        """The weights that it calls final; None when there are none."""

    def restarts(self, code: int | None) -> bool:
        """Whether what started it starts it again after this exit code."""


def write_data(folder: Path) -> None:
    """The data set that both train on."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [{"instruction": f"Say {n}.", "input": "", "output": f"It is {n}."} for n in range(_ROWS)]
    (folder / "numbers.json").write_text(json.dumps(rows))
    (folder / "dataset_info.json").write_text(json.dumps({"numbers": {"file_name": "numbers.json"}}))


@dataclass(frozen=True)
class Tunery:
    """The train stage of a run whose earlier stages are done."""

    template: Path

    @property
    def name(self) -> str:
        return "tunery"

    @classmethod
    def prepare(cls, scratch: Path, model: Path) -> Tunery:
        """Makes a run and does what comes before its training."""
        from workloads.engines.create import create, plan
        from workloads.run_spec_loader import load_run_spec
        from workloads.stages.context import RunContext
        from workloads.stages.runner import run_stages

        data = scratch / "data"
        write_data(data)
        training = TRAINING | {"model_name_or_path": str(model), "dataset_dir": str(data), "output_dir": "saves/x"}
        spec = data / "run.yaml"
        spec.write_text(json.dumps({"name": "faults", "training": training, "recovery": {"stall_seconds": 5}}))
        paths = create(plan(load_run_spec(spec)), scratch / "template")
        run_stages(RunContext.open(paths.root), ["fetch", "prepare"])
        return cls(paths.root)

    def begin(self, folder: Path) -> None:
        shutil.copytree(self.template, folder)

    def work(self, folder: Path) -> int:
        from workloads.stages.runner import main

        sys.argv = ["train", str(folder)]
        main("train")

    def checkpoints(self, folder: Path) -> Path:
        return RunPaths(folder).checkpoints

    def result(self, folder: Path) -> Path | None:
        paths = RunPaths(folder)
        return paths.trained / "adapter_model.safetensors" if paths.marker("train").is_file() else None

    def restarts(self, code: int | None) -> bool:
        """As the platform does: all but a wrong config, which no restart makes right."""
        return code not in (ExitCode.OK, ExitCode.INPUT)


@dataclass(frozen=True)
class Plain:
    """``llamafactory-cli train`` in a loop that starts it again until it ends with 0, as a Job does.

    Attributes:
        overwrite: as 54 of the 78 examples of LLaMA-Factory have it; otherwise a restart goes on from the newest
            checkpoint, if LLaMA-Factory can.
    """

    data: Path
    model: Path
    overwrite: bool
    processes: int = 1

    @property
    def name(self) -> str:
        return "plain, as its examples" if self.overwrite else "plain, told to resume"

    def begin(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        values = TRAINING | {
            "model_name_or_path": str(self.model),
            "dataset_dir": str(self.data),
            "output_dir": str(folder / "out"),
            "overwrite_output_dir": self.overwrite,
            "per_device_train_batch_size": TRAINING["per_device_train_batch_size"] // self.processes,
        }
        (folder / "train.yaml").write_text(json.dumps(values))  # JSON is YAML

    def work(self, folder: Path) -> int:
        from llamafactory.cli import main

        sys.argv = ["llamafactory-cli", "train", str(folder / "train.yaml")]
        main()
        return int(os.EX_OK)

    def checkpoints(self, folder: Path) -> Path:
        return folder / "out"

    def result(self, folder: Path) -> Path | None:
        weights = folder / "out" / "adapter_model.safetensors"
        return weights if weights.is_file() else None

    def restarts(self, code: int | None) -> bool:
        return code != 0
