"""What every stage gets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workloads.errors import InputError, TuneryError
from workloads.events import EventLog
from workloads.run_record import RunRecord
from workloads.runtime import RunPaths
from workloads.storage.atomic import read_json
from workloads.training.signals import StopRequest

if TYPE_CHECKING:
    from workloads.run_spec import RunSpec

OnCheckpoint = Callable[[Path, int], None]
"""Hears of each committed checkpoint: its folder and step."""


@dataclass(frozen=True, slots=True)
class RunContext:
    """One run, as a stage sees it.

    Attributes:
        base_folder: where the base model is on this machine, when the fetch stage worked on another one.
        on_checkpoint: called by the training when a checkpoint is committed.
        last_words: called before the process of a training that hangs ends itself.
    """

    paths: RunPaths
    record: RunRecord
    spec: RunSpec
    events: EventLog
    stop: StopRequest
    base_folder: Path | None = None
    on_checkpoint: OnCheckpoint | None = None
    last_words: Callable[[TuneryError], None] | None = None

    @classmethod
    def open(cls, run_dir: Path, stop: StopRequest | None = None) -> RunContext:
        """Raises InputError when ``run_dir`` is not a run directory."""
        from workloads.run_spec import RunSpec

        paths = RunPaths(run_dir.resolve())
        record = RunRecord.read(paths)
        return cls(paths, record, RunSpec.model_validate(record.spec), EventLog(paths.events), stop or StopRequest())

    @property
    def config(self) -> dict[str, Any]:
        """The training config after overrides; of a sweep that is decided, with the best trial's parameters."""
        if self.spec.sweep is not None and self.paths.marker("train").is_file():
            return {**self.record.training_config, **self.outputs("train")["parameters"]}
        return self.record.training_config

    @property
    def is_lora(self) -> bool:
        """Whether the training's result is an adapter."""
        return self.config.get("finetuning_type", "lora") in ("lora", "oft")

    @property
    def base_model(self) -> Path:
        """The folder of the base model, as the fetch stage left it."""
        return self.base_folder or Path(self.outputs("fetch")["folder"])

    def file(self, path: str) -> Path:
        """A path of the record, which may be relative to the run directory."""
        return self.paths.root / path

    def spec_file(self, path: str) -> Path:
        """A path of the spec, which is relative to the file that held it."""
        return self.paths.root / self.record.spec_dir / path

    def outputs(self, stage: str) -> Mapping[str, Any]:
        """What a finished stage recorded.

        Raises:
            InputError: the stage has not finished.
        """
        marker = read_json(self.paths.marker(stage))
        if marker is None:
            raise InputError.of(
                f"The stage {stage} has not finished.", f"run {stage} first", file=self.paths.marker(stage)
            )
        outputs: Mapping[str, Any] = marker["outputs"]
        return outputs
