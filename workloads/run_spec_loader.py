"""From a file on disk to a checked run spec, with every mistake reported at once, with file and key."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from workloads.errors import InputError, Problem, did_you_mean
from workloads.training_config import LoadedConfig, apply_overrides, check_config, find_datasets, load_config

if TYPE_CHECKING:
    from workloads.run_spec import RunSpec


@dataclass(frozen=True, slots=True)
class ResolvedSpec:
    """A run spec and the training config it means, after overrides.

    Attributes:
        file: the file the user named; paths in the spec are relative to its folder.
    """

    spec: RunSpec
    file: Path
    training: LoadedConfig

    def check(self, *, data: bool = True) -> list[Problem]:
        """Everything wrong with the training config and with the spec's own files."""
        problems = check_config(self.training, base_dir=self.training.path.parent, data=data, in_run=True)
        problems += _spec_problems(self)
        problems += _data_problems(self)
        if self.spec.sweep is not None:
            from workloads.sweep.space import check

            problems += check(self.spec.sweep, self.training, self.file)
        return problems


def is_run_spec(config: LoadedConfig) -> bool:
    """Whether a YAML file is a run spec and not a bare training config."""
    return "training" in config.values


def load_run_spec(path: Path, overrides: Sequence[str] = ()) -> ResolvedSpec:
    """Reads a run spec, or a bare training config, which gets a default run spec.

    Args:
        overrides: ``key=value`` for the training config, or ``key=value`` and ``part.key=value`` for the run spec.

    Raises:
        InputError: with every problem of the spec.
    """
    from workloads.run_spec import RunSpec

    loaded = load_config(path)
    spec_keys = set(RunSpec.model_fields)
    for_spec = [text for text in overrides if text.split("=", 1)[0].split(".", 1)[0] in spec_keys]
    for_training = [text for text in overrides if text not in for_spec]
    if is_run_spec(loaded):
        values = dict(loaded.values)
    else:
        values = {"name": default_name(path), "training": str(path.resolve())}
    for text in for_spec:
        _override(values, text)
    spec = _validate(values, loaded)
    training = _training(spec, path)
    training = apply_overrides(training, [f"{key}={_scalar(value)}" for key, value in spec.overrides.items()])
    return ResolvedSpec(spec, path, apply_overrides(training, for_training))


def default_name(path: Path) -> str:
    """A run name made from a file name: ``Llama3 LoRA.yaml`` -> ``llama3-lora``."""
    name = re.sub(r"[^a-z0-9]+", "-", path.stem.lower()).strip("-")[:40].strip("-")
    return name or "run"


def _override(values: dict[str, Any], text: str) -> None:
    """Sets ``part.key=value`` in a nested mapping, the value read as YAML."""
    one = apply_overrides(LoadedConfig(Path("command line"), {}, {}), ["value=" + text.partition("=")[2]])
    *parents, last = text.partition("=")[0].split(".")
    place = values
    for parent in parents:
        inner = place.get(parent)
        place[parent] = dict(inner) if isinstance(inner, dict) else {}
        place = place[parent]
    place[last] = one.values["value"]


def _scalar(value: Any) -> str:
    """A value that was read already, so that it is read as the same again: the text ``no`` is no false."""
    if isinstance(value, str):
        return yaml.safe_dump(value, default_style='"', width=math.inf).strip()
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _validate(values: dict[str, Any], loaded: LoadedConfig) -> RunSpec:
    from pydantic import ValidationError

    from workloads.run_spec import RunSpec

    try:
        return RunSpec.model_validate(values)
    except ValidationError as error:
        details = error.errors()
        # pydantic also counts a list as too short when all its items are wrong
        short = [each for each in details if each["type"] == "too_short" and _inside(each["loc"], details)]
        raise InputError([_problem(detail, loaded) for detail in details if detail not in short]) from None


def _inside(location: Sequence[Any], details: Sequence[Any]) -> bool:
    return any(len(each["loc"]) > len(location) and each["loc"][: len(location)] == location for each in details)


def _problem(detail: Any, loaded: LoadedConfig) -> Problem:
    key = ".".join(str(part) for part in detail["loc"])
    line = loaded.lines.get(str(detail["loc"][0])) if detail["loc"] else None
    file = str(loaded.path)
    if detail["type"] == "extra_forbidden":
        known = _fields_at(detail["loc"][:-1])
        name = str(detail["loc"][-1])
        return Problem(
            f"{name!r} is not a key of a run spec here.",
            "remove it; the keys here are " + ", ".join(sorted(known)),
            file=file,
            key=key,
            line=line,
            suggestion=did_you_mean(name, known),
            code="unknown-key",
        )
    if detail["type"] == "missing":
        return Problem("This key is required.", "add it", file=file, key=key, line=line, code="missing-key")
    message = str(detail["msg"]).removeprefix("Value error, ")
    return Problem(
        message[:1].upper() + message[1:] + ".",
        f"it is now {detail['input']!r}" if not isinstance(detail["input"], dict) else "change this part",
        file=file,
        key=key,
        line=line,
        code="invalid-value",
    )


def _fields_at(location: Sequence[Any]) -> list[str]:
    """The keys that the spec knows at a place, for "did you mean"."""
    from pydantic import BaseModel

    from workloads import run_spec

    model: Any = run_spec.RunSpec
    for part in location:
        if isinstance(part, int) or part not in model.model_fields:  # an item of a list, or a mapping's own key
            continue
        annotation = model.model_fields[part].annotation
        candidates = [annotation, *getattr(annotation, "__args__", ())]
        candidates += [inner for each in candidates for inner in getattr(each, "__args__", ())]
        model = next(each for each in candidates if isinstance(each, type) and issubclass(each, BaseModel))
    return list(model.model_fields)


def _training(spec: RunSpec, path: Path) -> LoadedConfig:
    if isinstance(spec.training, dict):
        return LoadedConfig(path, dict(spec.training), {})
    file = path.parent / spec.training
    if not file.is_file():
        raise InputError.of(
            f"There is no training config {spec.training!r}.",
            f"write a path relative to {path.parent or '.'}",
            file=path,
            key="training",
        )
    loaded = load_config(file)
    if is_run_spec(loaded):
        raise InputError.of(
            "This names another run spec where a training config is needed.",
            "name the training config that it uses",
            file=path,
            key="training",
        )
    return loaded


def _data_problems(resolved: ResolvedSpec) -> list[Problem]:
    """What is wrong with the versions of data sets that are not in files here."""
    try:
        known = {each.name: each for each in find_datasets(resolved.training, resolved.training.path.parent)}
    except InputError:  # is said where the data sets themselves are checked
        return []
    given, found = resolved.spec.data, []

    def add(name: str, message: str, fix: str, **more: Any) -> None:
        found.append(Problem(message, fix, file=str(resolved.file), key=f"data.{name}", code="run-spec", **more))

    for name, version in given.items():
        if name not in known:
            near = did_you_mean(name, known)
            add(name, "The training config names no such data set.", "remove it, or correct it", suggestion=near)
        elif known[name].source is None:
            add(name, "This data set is in files here, whose digests the run records by itself.", "remove it")
        elif known[name].in_hub and version.sha256 is not None:
            add(name, "The content of a data set in the hub is named by a revision.", "set revision, not sha256")
        elif not known[name].in_hub and version.revision is not None:
            add(name, "An object has no revisions.", "set sha256, not revision")
    for name, dataset in known.items():
        if dataset.source and not dataset.in_hub and not (name in given and given[name].sha256):
            fix = f"set sha256 to what `gcloud storage cat {dataset.source} | sha256sum` prints"
            add(name, f"{dataset.source} can change, so the run must say which content is meant.", fix)
    return found


def _spec_problems(resolved: ResolvedSpec) -> Sequence[Problem]:
    spec, values = resolved.spec, resolved.training.values
    file, folder = str(resolved.file), resolved.file.parent
    found: list[Problem] = []

    def add(message: str, fix: str, key: str) -> None:
        found.append(Problem(message, fix, file=file, key=key, code="run-spec"))

    has_held_out = bool(values.get("val_size")) or bool(values.get("eval_dataset"))
    questions = spec.evaluation.questions

    def needs(metric: str, key: str) -> None:
        if metric == "exact_match" and questions is None:
            add("This metric needs questions.", "add evaluation.questions", key)
        if metric.startswith("rouge") and (questions is None or not spec.evaluation.rouge):
            add("This metric needs questions and ROUGE.", "set evaluation.questions and evaluation.rouge", key)
        if metric in ("loss", "perplexity", "preference_accuracy") and not has_held_out:
            add("This metric needs held-out data.", "set val_size or eval_dataset in the training config", key)

    if questions is not None:
        if not (folder / questions.file).is_file():
            key = "evaluation.questions.file"
            add(f"There is no file {questions.file!r}.", "write a path relative to this file", key)
        if values.get("stage") == "rm":
            add("A reward model generates no answers.", "remove evaluation.questions", "evaluation.questions")
    if spec.gate is not None:
        if spec.gate.baseline is not None and not (folder / spec.gate.baseline).is_file():
            add(
                f"There is no baseline {spec.gate.baseline!r}.",
                "write a path relative to this file; a first baseline is the `after` part of an evaluation.json",
                "gate.baseline",
            )
        for number, rule in enumerate(spec.gate.rules):
            needs(rule.metric, f"gate.rules.{number}.metric")
    if spec.sweep is not None:
        needs(spec.sweep.metric, "sweep.metric")
        for key in ("count", "nodes"):
            if getattr(spec.resources, key) > 1:
                fix = "set it to 1; sweep.parallel says how many trials run at once"
                add("Each trial of a sweep trains in one process, on one GPU.", fix, f"resources.{key}")
    if not spec.export.merge and values.get("finetuning_type", "lora") != "lora":
        add("Only a LoRA training has an adapter to export.", "set export.merge to true", "export.merge")
    return found
