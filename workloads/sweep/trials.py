"""One trial: a run directory inside the sweep's, with data and base model shared, trained to a step and measured."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from workloads.events import EventLog
from workloads.run_record import FILE_KEYS, RunRecord, digest_of
from workloads.run_spec import RunSpec, Scalar
from workloads.runtime import RunPaths
from workloads.storage.atomic import write_text
from workloads.sweep.results import Measurement
from workloads.training.process import forget_training
from workloads.training.signals import StopRequest

_ASKED = ("exact_match", "rouge1", "rougeL")
"""Metrics of generated answers; the others are of held-out data."""


@dataclass(frozen=True, slots=True)
class TrialPaths(RunPaths):
    """A trial's directory; its data and its progress are the sweep's."""

    parent: RunPaths

    @property
    def data(self) -> Path:
        return self.parent.data

    @property
    def progress(self) -> Path:
        return self.parent.progress


@dataclass(frozen=True, slots=True)
class Trial:
    """What one trial trains.

    Attributes:
        config: the sweep's training config with the trial's parameters.
        base_model: the folder of the base model.
        questions: the file of the evaluation's questions.
    """

    number: int
    parameters: Mapping[str, Scalar]
    config: dict[str, Any]
    paths: TrialPaths
    base_model: Path
    questions: Path | None

    @property
    def weights(self) -> Path:
        """The trained weights of a trial that trained to its end."""
        return self.paths.trained


def open_trial(
    record: RunRecord, paths: RunPaths, number: int, base_model: Path, questions: Path | None = None
) -> Trial:
    """Makes the trial's directory, if it is not there, with a record of its own.

    Args:
        record: the sweep's.
        paths: the sweep's.
    """
    import yaml

    parameters = record.trials[number]
    own = TrialPaths(paths.trial(number), paths)
    config = {**record.training_config, **parameters}
    learnt = {key: value for key, value in config.items() if key not in ("model_name_or_path", "media_dir")}
    trial = replace(
        record,
        id=f"{record.id}-{number:03d}",
        spec={**record.spec, "sweep": None, "publish": None, "serve": None, "gate": None},
        training_config=config,
        config_digest=digest_of(learnt),
        seed=int(config.get("seed", record.seed)),
        trials=(),
    )
    if not own.record.is_file():
        own.root.mkdir(parents=True, exist_ok=True)
        write_text(own.training_config, yaml.safe_dump(config, sort_keys=False, allow_unicode=True))
        trial.write(own)
    for key in (*FILE_KEYS, "media_dir"):  # what the sweep took along is in its directory, not in the trial's
        if str(config.get(key, "")).startswith(f"{paths.inputs.name}/"):
            config[key] = str(paths.root / config[key])
    return Trial(number, parameters, config, own, base_model, questions)


def train_and_measure(
    trial: Trial,
    spec: RunSpec,
    stop: StopRequest,
    until: int | None,
    on_checkpoint: Callable[[Path, int], None] | None = None,
) -> Measurement:
    """Trains a trial to a step, from where it was, and measures the model there.

    Args:
        until: the step, or None for the end of the training.
        on_checkpoint: called with the folder and step of each checkpoint, once it is committed.

    Raises:
        Preempted: a stop was asked for; the next call goes on from the last checkpoint.
    """
    from workloads.training.worker import train

    with _clean_process():
        events = EventLog(trial.paths.events)
        result = train(
            trial.config,
            trial.paths,
            trial.base_model,
            events,
            stop,
            until,
            on_checkpoint,
            recovery=spec.recovery,
        )
    with _clean_process():
        metrics = measure(trial, spec, trial.paths.root / result["folder"])
    return Measurement(int(result["steps"]), metrics)


def measure(trial: Trial, spec: RunSpec, weights: Path) -> dict[str, float]:
    """The metrics that the sweep needs to choose, of weights or of a checkpoint."""
    from workloads.training.answers import generate, grade, load_questions
    from workloads.training.loading import load_trained
    from workloads.training.scoring import held_out_rows, score

    is_lora = trial.config.get("finetuning_type", "lora") in ("lora", "oft")
    loaded = load_trained(trial.config, trial.base_model, weights, is_lora=is_lora)
    asked = spec.evaluation.questions
    if spec.sweep is not None and spec.sweep.metric in _ASKED and asked is not None and trial.questions is not None:
        questions = load_questions(trial.questions)
        answers = generate(loaded, [each.question for each in questions], asked.max_new_tokens)
        return grade(questions, answers, rouge=spec.evaluation.rouge)
    return score(loaded.model, held_out_rows(trial.paths.tokenized), str(trial.config.get("stage", "sft")))


@contextmanager
def _clean_process() -> Iterator[None]:
    try:
        yield
    finally:
        forget_training()


def describe(parameters: Mapping[str, Scalar]) -> str:
    """``learning_rate=0.001 lora_rank=8``."""
    return " ".join(
        f"{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in parameters.items()
    )
