"""The data sets that a config names: where they are registered, their files, and every row of them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from workloads.errors import InputError, Problem, did_you_mean
from workloads.training_config.data_formats import COLUMNS, FORMATS, TAGS, Shape, check_row
from workloads.training_config.data_rows import KINDS, MAX_REPORTED, READABLE, Rows, read_rows
from workloads.training_config.loader import LoadedConfig
from workloads.training_config.settings import Settings, UncertainError

INFO_FILE = "dataset_info.json"

HUB_KEY, OBJECT_KEY = "hf_hub_url", "cloud_file_name"
"""Keys of an entry of dataset_info.json whose data set a run can bring: from its hub, and from Cloud Storage."""
_OTHER_REMOTE_KEYS = ("ms_hub_url", "om_hub_url", "script_url")
_REMOTE_KEYS = (HUB_KEY, OBJECT_KEY, *_OTHER_REMOTE_KEYS)
PLACE_KEYS = frozenset({*_REMOTE_KEYS, "file_name", "subset", "split", "folder"})
"""Keys that say where a data set is, and not what its rows are."""
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", re.ASCII)
_OBJECT = re.compile(r"gs://[a-z0-9][a-z0-9._-]+/\S*[^/\s]")
_ENTRY_KEYS = frozenset({*PLACE_KEYS, "formatting", "ranking", "num_samples", "columns", "tags"})
_PAIR_STAGES = ("rm", "dpo")


@dataclass(frozen=True)
class DatasetFile:
    """One data set of a config.

    Attributes:
        name: its name in dataset_info.json.
        files: its data files, in order of their names; none when it is elsewhere.
        entry: what dataset_info.json says about it.
        split: whether it is trained on or evaluated on; a set named for both counts as ``train``.
        info_path: the dataset_info.json.
        source: where it is when a run brings it: its name in the hub, or an object's ``gs://`` address.
    """

    name: str
    files: tuple[Path, ...]
    entry: Mapping[str, Any]
    split: Literal["train", "eval"]
    info_path: Path
    source: str | None = None

    @property
    def in_hub(self) -> bool:
        """Whether a run brings it from its hub."""
        return HUB_KEY in self.entry


def find_datasets(config: LoadedConfig, base_dir: Path) -> list[DatasetFile]:
    """The data sets of a run.

    Args:
        base_dir: where ``dataset_dir`` is looked for when it is not under the working directory.

    Raises:
        InputError: one is not registered, or is neither in files here nor where a run can bring it from.
    """
    found, problems = _locate(Settings(config, (), base_dir), in_run=True)
    errors = [problem for problem in problems if not problem.is_warning]
    if not found and not errors:
        errors = [config.problem("dataset", "No data set is named.", "set dataset", "missing-key")]
    if errors:
        raise InputError(errors)
    return found


def check_datasets(settings: Settings, *, in_run: bool) -> list[Problem]:
    """Problems of the data sets that a training or evaluation reads, row by row."""
    try:
        tokenized = settings.path(settings["tokenized_path"]) if settings["tokenized_path"] else None
        if settings.purpose not in ("train", "evaluate") or (tokenized is not None and not in_run):
            return []  # LLaMA-Factory reads the tokenized data and nothing else
        found, problems = _locate(settings, in_run=in_run)
        stage, generates = settings["stage"], bool(settings["predict_with_generate"])
    except UncertainError:
        return []
    for dataset in found:
        problems += _check_stage(dataset, stage)
        problems += check_rows(dataset, stage, generates=generates)
    return problems


def _locate(settings: Settings, *, in_run: bool) -> tuple[list[DatasetFile], list[Problem]]:
    config = settings.config
    wanted: dict[str, Literal["train", "eval"]] = dict.fromkeys(settings.names("eval_dataset"), "eval")
    wanted |= dict.fromkeys(settings.names("dataset"), "train")
    folder = str(settings["dataset_dir"])
    if not wanted:
        return [], []
    if folder == "ONLINE" or folder.startswith("REMOTE:"):
        message, fix = "A run reads its data from files.", "download it, and name a folder with a dataset_info.json"
        return [], [config.problem("dataset_dir", message, fix, "dataset-not-local")] if in_run else []
    info_path = settings.path(f"{folder}/{INFO_FILE}")
    if info_path is None:
        looked = " or ".join(str(place) for place in settings.places(f"{folder}/{INFO_FILE}"))
        fix = "set dataset_dir to the folder with your data, and register each data set in its dataset_info.json"
        return [], [config.problem("dataset_dir", f"There is no {looked}.", fix, "missing-file")]
    try:
        registered = json.loads(info_path.read_text(encoding="utf-8"))
        if not isinstance(registered, dict):
            raise TypeError("it holds no object of names")  # noqa: TRY301 - one message for all that can be wrong
    except (OSError, ValueError, TypeError) as error:
        message = f"The register of data sets cannot be read: {error}."
        return [], [Problem(message, "correct it", file=str(info_path), code="syntax")]
    found, problems = [], []
    for name, split in wanted.items():
        key = "dataset" if name in settings.names("dataset") else "eval_dataset"
        if name not in registered:
            problems.append(
                config.problem(
                    key,
                    f"The data set {name!r} is not registered in {info_path}.",
                    "add it there, or name one that is there",
                    "unknown-dataset",
                    suggestion=did_you_mean(name, registered),
                )
            )
            continue
        wrong = _check_entry(info_path, name, registered[name], in_run=in_run)
        problems += wrong
        if any(problem.code == "dataset-entry" for problem in wrong):
            continue
        if source := _source(registered[name]):
            if in_run:
                found.append(DatasetFile(name, (), registered[name], split, info_path, source))
        elif "file_name" in registered[name]:
            files, missing = _files(info_path, name, registered[name])
            problems += missing
            if not missing:
                found.append(DatasetFile(name, files, registered[name], split, info_path))
    return found, problems


def _entry_problem(info_path: Path, name: str, message: str, fix: str, **more: Any) -> Problem:
    text = info_path.read_text(encoding="utf-8")
    place = re.search(re.escape(json.dumps(name, ensure_ascii=False)) + r"\s*:", text)
    line = text.count("\n", 0, place.start()) + 1 if place else None
    return Problem(message, fix, file=str(info_path), key=name, line=line, **{"code": "dataset-entry", **more})


def _check_entry(info_path: Path, name: str, entry: Any, *, in_run: bool) -> list[Problem]:
    def problem(message: str, fix: str, **more: Any) -> Problem:
        return _entry_problem(info_path, name, message, fix, **more)

    if not isinstance(entry, dict):
        return [problem("The entry is no object.", 'write {"file_name": "..."}')]
    found = [
        problem(
            f"LLaMA-Factory ignores the key {key!r} here.",
            "correct its spelling, or remove it",
            code="warn-dataset-key",
            suggestion=did_you_mean(key, _ENTRY_KEYS),
        )
        for key in entry
        if key not in _ENTRY_KEYS
    ]
    remote = [key for key in _REMOTE_KEYS if key in entry]
    if remote and in_run:
        found += [problem(message, fix) for message, fix in _unreachable(entry)]
    elif not remote and not isinstance(entry.get("file_name"), str):
        found.append(problem("The entry names no file.", "add file_name"))
    if entry.get("formatting", "alpaca") not in FORMATS:
        message = f"{entry['formatting']!r} is no format."
        near = did_you_mean(str(entry["formatting"]), FORMATS)
        found.append(problem(message, f"write one of {', '.join(FORMATS)}", suggestion=near))
    for part, names in (("columns", COLUMNS), ("tags", TAGS)):
        given = entry.get(part, {})
        if not isinstance(given, dict) or not all(isinstance(value, (str, type(None))) for value in given.values()):
            found.append(problem(f"{part} is no object of names.", f"write {{{names[0]!r}: ...}}"))
            continue
        for wrong in given.keys() - set(names):
            fix = f"write one of {', '.join(names)}"
            found.append(problem(f"{part} has no {wrong!r}.", fix, suggestion=did_you_mean(wrong, names)))
    return found


def _source(entry: Mapping[str, Any]) -> str | None:
    """Where a data set is that is not in files here, in the order in which LLaMA-Factory takes its keys."""
    if HUB_KEY in entry:
        return str(entry[HUB_KEY])
    return str(entry[OBJECT_KEY]) if OBJECT_KEY in entry and not entry.keys() & _OTHER_REMOTE_KEYS else None


def _unreachable(entry: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Why a run cannot bring a data set that is elsewhere, and what to do."""
    source = _source(entry)
    if source is None:
        yield (
            "A run brings data sets by hf_hub_url or cloud_file_name, not from where this one is.",
            ("put it into the hub and name it with hf_hub_url, or download it and name the file with file_name"),
        )
    elif HUB_KEY in entry and not _HUB_NAME.fullmatch(source):
        yield f"{HUB_KEY} is {source!r}, which is no name of a data set.", "write organisation/name"
    elif HUB_KEY not in entry and not _OBJECT.fullmatch(source):
        yield f"{OBJECT_KEY} is {source!r}, which is no object that a run can bring.", "write gs://BUCKET/PATH"
    elif HUB_KEY not in entry and PurePosixPath(source).suffix[1:] not in KINDS:
        yield f"{source} is of no known type.", f"use one of {', '.join(sorted(KINDS))}"


def _files(info_path: Path, name: str, entry: Mapping[str, Any]) -> tuple[tuple[Path, ...], list[Problem]]:
    path = info_path.parent / entry["file_name"]
    files = tuple(sorted(path.iterdir())) if path.is_dir() else (path,)
    missing = [each for each in files if not each.is_file()]
    if missing or not files:
        siblings = [each.name for each in path.parent.iterdir()] if path.parent.is_dir() else []
        fix, near = "correct file_name, or put the file there", did_you_mean(path.name, siblings)
        message = f"There is no data file {path}." if not path.is_dir() else f"{path} is no folder of data files."
        return (), [_entry_problem(info_path, name, message, fix, code="missing-file", suggestion=near)]
    kinds = {KINDS.get(each.suffix[1:]) for each in files}
    if None in kinds or len(kinds) > 1:
        fix = f"use one of {', '.join(sorted(KINDS))}, the same for all files of a data set"
        message = f"The files of {path} are not all of one known type."
        return (), [_entry_problem(info_path, name, message, fix, code="file-type")]
    return files, []


def _check_stage(dataset: DatasetFile, stage: str) -> list[Problem]:
    def problem(message: str, fix: str) -> list[Problem]:
        return [_entry_problem(dataset.info_path, dataset.name, message, fix, code="dataset-stage")]

    ranking = bool(dataset.entry.get("ranking", False))
    if ranking != (stage in _PAIR_STAGES):
        if ranking:
            return problem(f"The stage {stage} does not train on ranked answers.", "name another data set")
        return problem(
            f"The stage {stage} needs ranked answers.", 'add "ranking": true and the columns chosen, rejected'
        )
    if stage == "kto" and not dataset.entry.get("columns", {}).get("kto_tag"):
        return problem("The stage kto needs a mark on each answer.", 'add "kto_tag" to the columns')
    return []


def check_rows(dataset: DatasetFile, stage: str, *, generates: bool = False) -> list[Problem]:
    """What is wrong with the rows of a data set's files.

    Args:
        stage: LLaMA-Factory's training stage.
        generates: whether the answers to what is evaluated are generated, and so need not be in the data.
    """
    shape = Shape.of(dataset.entry, stage, answered=not (generates and dataset.split == "eval"))
    readable = [path for path in dataset.files if path.suffix[1:] in READABLE]
    try:
        read = [(path, read_rows(path)) for path in readable]
    except InputError as error:
        return list(error.problems)
    present = {key for _, rows in read for row in rows.values if isinstance(row, dict) for key in row}
    if read and not any(rows.values for _, rows in read):
        return [Problem("The file has no rows.", "add data", file=str(readable[0]), code="malformed-data")]
    absent = [
        Problem(
            f"No row has the column {name!r}, which is where the {role.replace('_', ' ')} should be.",
            f"rename the column, or name the columns of {dataset.name!r} in {dataset.info_path}",
            file=str(readable[0]),
            key=name,
            suggestion=did_you_mean(name, sorted(present)),
            code="missing-column",
        )
        for role, name in shape.required.items()
        if present and name not in present  # where no row is an object, each is named below
    ]
    return absent or [problem for path, rows in read for problem in _malformed(path, rows, shape)]


def _malformed(path: Path, rows: Rows, shape: Shape) -> list[Problem]:
    typed = (_typed(row, shape) if path.suffix == ".csv" else row for row in rows.values)
    flaws = [(index, flaw) for index, row in enumerate(typed) if (flaw := check_row(row, shape)) is not None]

    def problem(index: int, message: str, fix: str, column: str | None = None) -> Problem:
        line = rows.line_of(index)
        return Problem(message, fix, file=str(path), key=column, line=line, row=index + 1, code="malformed-row")

    found = [problem(index, flaw.message, flaw.fix, flaw.column) for index, flaw in flaws[:MAX_REPORTED]]
    more = flaws[MAX_REPORTED:]
    if more:
        message = f"This row and {len(more) - 1} more are malformed: {len(flaws)} of {len(rows.values)} in all."
        found.append(problem(more[0][0], message, "correct those above first"))
    return found


def _typed(row: Mapping[str, Any], shape: Shape) -> dict[str, Any]:
    """A CSV row as its loader types it: the words true and false become values."""
    tag = shape.columns["kto_tag"]
    word = str(row.get(tag or "")).lower()
    return {**row, tag: word == "true"} if tag and word in ("true", "false") else dict(row)
