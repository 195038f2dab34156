"""Makes a run of a spec: checks it, resolves and digests everything that decides its result, and records it."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from workloads.errors import InputError, Problem, UnavailableError
from workloads.hub import open_datasets, open_hub
from workloads.hub.interface import ModelReference
from workloads.recovery import Recovery
from workloads.run_record import FILE_KEYS, BaseModel, DatasetDigest, RemoteDataset, RunRecord, digest_of, run_id
from workloads.run_spec_loader import ResolvedSpec
from workloads.runtime import RunPaths
from workloads.storage import manifest
from workloads.storage.atomic import write_text
from workloads.training_config import find_datasets

_PACKAGES = ("tunery", "llamafactory", "torch", "transformers", "peft", "trl", "datasets", "accelerate", "bitsandbytes")
_DEFAULT_SEED = 42  # of the trainer


@dataclass(frozen=True, slots=True)
class Content:
    """What a spec's files say of the result, wherever they lie; what the hub and the machine add is not in it.

    Attributes:
        learnt: the training config after overrides, files that it names by their digest.
        decided_by: the rest of the run spec.
        questions: the digest of the questions' file.
        training_config: the training config with absolute paths, to run from.
        dataset_info: the file that describes the data sets.
    """

    learnt: dict[str, Any]
    decided_by: dict[str, Any]
    datasets: tuple[DatasetDigest, ...]
    questions: str | None
    seed: int
    training_config: dict[str, Any]
    dataset_info: Path

    @property
    def data(self) -> list[tuple[str, str]]:
        """Name and digest of every data file."""
        return sorted((each.name, each.sha256) for each in self.datasets)


def content_of(resolved: ResolvedSpec) -> Content:
    """Digests the files that a spec names.

    Raises:
        InputError: a data set is not there, or its description is wrong.
    """
    config = dict(resolved.training.values)
    folder = resolved.training.path.parent
    files = find_datasets(resolved.training, folder)
    datasets = tuple(
        DatasetDigest(each.name, str(path.resolve()), manifest.sha256_file(path))
        for each in files
        for path in each.files
    )
    info = files[0].info_path.resolve()
    config.setdefault("media_dir", str(info.parent))
    contents = {}
    for key in FILE_KEYS:
        if isinstance(config.get(key), str) and (folder / config[key]).is_file():
            contents[key] = manifest.sha256_file(folder / config[key])
            config[key] = str((folder / config[key]).resolve())
    spec = resolved.spec.model_dump(mode="json")
    # What a file says decides, not where it lies.
    learnt = {key: value for key, value in config.items() if key not in ("model_name_or_path", "media_dir")} | contents
    decided_by = {key: value for key, value in spec.items() if key not in ("training", "overrides", "base")}
    # Without what is as it is by default, so that the runs of before these keys keep their ids.
    if resolved.spec.recovery == Recovery():
        del decided_by["recovery"]
    if not resolved.spec.data:
        del decided_by["data"]
    questions = resolved.spec.evaluation.questions
    return Content(
        learnt=learnt,
        decided_by=decided_by,
        datasets=datasets,
        questions=manifest.sha256_file(resolved.file.parent / questions.file) if questions else None,
        seed=int(config.get("seed", _DEFAULT_SEED)),
        training_config=config,
        dataset_info=info,
    )


def plan(resolved: ResolvedSpec, *, now: datetime | None = None) -> RunRecord:
    """Resolves a spec into the record of a run, without writing anything.

    Raises:
        InputError: with everything that is wrong with the spec, its configs, data and base model.
    """
    problems = [problem for problem in resolved.check() if not problem.is_warning]
    base: BaseModel | None = None
    try:
        base = resolve_base(resolved)
    except InputError as error:
        problems += error.problems
    if problems or base is None:
        raise InputError(problems)
    content = content_of(resolved)
    remote = resolve_datasets(resolved)
    versions = installed_versions()
    return RunRecord(
        id=run_id(
            resolved.spec.name,
            content.learnt,
            content.decided_by,
            sorted([*content.data, *((each.name, each.sha256 or each.revision) for each in remote)]),
            content.questions,
            base.revision,
            versions,
            content.seed,
        ),
        name=resolved.spec.name,
        created=(now or datetime.now(UTC)).isoformat(timespec="seconds"),
        spec=resolved.spec.model_dump(mode="json"),
        spec_dir=str(resolved.file.parent.resolve()),
        training_config=content.training_config,
        config_digest=digest_of(content.learnt),
        base=base,
        dataset_info=str(content.dataset_info),
        datasets=content.datasets,
        versions=versions,
        git_commit=git_commit(resolved.file.parent),
        seed=content.seed,
        trials=_trials(resolved),
        remote_datasets=remote,
    )


def _trials(resolved: ResolvedSpec) -> tuple[dict[str, Any], ...]:
    """The trials of a spec with a sweep.

    Raises:
        InputError: a combination of values cannot be trained.
    """
    sweep = resolved.spec.sweep
    if sweep is None:
        return ()
    from workloads.sweep.sampling import sample
    from workloads.sweep.space import check_trials

    trials = sample(sweep)
    problems = check_trials(resolved.training, trials, resolved.file)
    if problems:
        raise InputError(problems)
    return tuple(trials)


def create(record: RunRecord, runs: Path) -> RunPaths:
    """Makes the run directory; a run that exists already is left as it is."""
    paths = RunPaths((runs / record.id).resolve())
    if paths.record.is_file():
        return paths
    import yaml

    try:
        paths.root.mkdir(parents=True, exist_ok=True)
        write_text(paths.training_config, yaml.safe_dump(record.training_config, sort_keys=False, allow_unicode=True))
        record.write(paths)
    except OSError as error:
        raise UnavailableError.of(
            f"The run directory cannot be made: {error.strerror}.",
            "make the folder writable, free disk space, or name another with TUNERY_RUNS",
            file=paths.root,
        ) from error
    return paths


def resolve_base(resolved: ResolvedSpec) -> BaseModel:
    """The base model that a spec means, by content.

    Raises:
        InputError: it is neither a folder nor in the hub.
    """
    spec = resolved.spec
    wanted = spec.base.model if spec.base else resolved.training.values.get("model_name_or_path")
    file, key = (resolved.file, "base.model") if spec.base else (resolved.training.path, "model_name_or_path")
    if not isinstance(wanted, str) or not wanted:
        raise InputError.of("No base model is named.", "set model_name_or_path", file=file, key=key)
    for folder in (Path(wanted), file.parent / wanted):
        if (folder / "config.json").is_file():
            revision = manifest.scan(folder).digest[:40]
            return BaseModel(wanted, revision, None, str(folder.resolve()))
    if Path(wanted).is_absolute() or wanted.startswith("."):
        raise InputError.of(
            f"There is no model in {wanted!r}: a model folder has a config.json.",
            "name a folder with a model, or a model in the hub (see `tunery models`)",
            file=file,
            key=key,
        )
    reference = ModelReference.parse(wanted)
    if spec.base and spec.base.revision is not None:
        reference = ModelReference(reference.name, spec.base.revision)
    try:
        found = open_hub().resolve(reference)
    except InputError as error:
        raise InputError([_at(problem, file, key) for problem in error.problems]) from error
    return BaseModel(found.name, found.revision, found.reference, None)


def resolve_datasets(resolved: ResolvedSpec) -> tuple[RemoteDataset, ...]:
    """The data sets that are not in files here, by content.

    Raises:
        InputError: the hub has no such data set or version; all of them at once.
    """
    remote: list[RemoteDataset] = []
    problems: list[Problem] = []
    for each in find_datasets(resolved.training, resolved.training.path.parent):
        if each.source is None:
            continue
        wanted = resolved.spec.data.get(each.name)
        if each.in_hub:
            try:
                reference = ModelReference(each.source, wanted.revision if wanted else None)
                version = open_datasets().resolve(reference)
                remote.append(RemoteDataset(each.name, each.source, version.revision, size=version.size))
            except InputError as error:
                problems += [_at(problem, each.info_path, each.name) for problem in error.problems]
        elif wanted and wanted.sha256:  # without it the check of the spec has failed
            remote.append(RemoteDataset(each.name, each.source, wanted.sha256[:40], wanted.sha256))
    if problems:
        raise InputError(problems)
    return tuple(remote)


def _at(problem: Problem, file: Path, key: str) -> Problem:
    return Problem(
        problem.message, problem.fix, file=str(file), key=key, suggestion=problem.suggestion, code=problem.code
    )


def installed_versions(packages: Sequence[str] = _PACKAGES) -> dict[str, str]:
    """The versions of the packages that decide what a training computes."""
    found = {}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def git_commit(folder: Path) -> str | None:
    """The commit of the repository that holds ``folder``, with ``-dirty`` when files differ from it."""
    command: list[str] = ["git", "-C", str(folder), "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() or None


def describe(record: RunRecord) -> dict[str, Any]:
    """What ``--dry-run`` shows: what would be trained on what, and under which id."""
    return {
        "id": record.id,
        "base": {"model": record.base.model, "revision": record.base.revision},
        "datasets": [
            *({"name": each.name, "file": each.file, "sha256": each.sha256} for each in record.datasets),
            *({"name": each.name, "source": each.source, "revision": each.revision} for each in record.remote_datasets),
        ],
        "config_digest": record.config_digest,
        "training_config": record.training_config,
        **({"trials": record.trials} if record.trials else {}),
        "spec": record.spec,
    }
