"""A run that can be sent elsewhere: a run directory that holds everything that the run reads.

::

    inputs/data/NN/FILE        the data files, one folder a data set
    inputs/media/PATH          images, videos and audio that rows of the data name
    inputs/settings/           dataset_info.json, questions, baseline, and the files that the training config names

Each of the three is a folder with a manifest, since not every stage reads all of them. The base model is not among
them: the fetch stage brings it from the hub.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from workloads.errors import InputError, UnavailableError
from workloads.run_record import FILE_KEYS, DatasetDigest, RunRecord
from workloads.runtime import RunPaths
from workloads.storage import manifest
from workloads.storage.atomic import write_json, write_text
from workloads.storage.objects import Store
from workloads.storage.transfer import push
from workloads.training_config.data_rows import READABLE, read_rows

_DATA, _MEDIA, _SETTINGS = "inputs/data", "inputs/media", "inputs/settings"
_MEDIA_COLUMNS = ("images", "videos", "audios")


def make_bundle(record: RunRecord, paths: RunPaths) -> RunRecord:
    """Copies everything that a planned run reads into its run directory, run.json last.

    Args:
        record: with absolute paths, as :func:`workloads.engines.create.plan` makes it.
        paths: the run directory, which need not exist; one that holds this run already is made again.

    Returns:
        The record with paths relative to the run directory.

    Raises:
        InputError: the base model is a folder of this machine; a data file has changed since the run was planned;
            or media lie where they cannot be taken along.
        UnavailableError: the run directory cannot be written.
    """
    if record.base.reference is None:
        raise InputError.of(
            "The base model is a folder of this machine, which an environment does not see.",
            f"import it into the hub: tunery import {record.base.model} NAME, and name it as NAME",
            file=record.base.model,
            key="model_name_or_path",
        )
    try:
        shutil.rmtree(paths.inputs, ignore_errors=True)
        for folder in (_DATA, _MEDIA, _SETTINGS):
            (paths.root / folder).mkdir(parents=True)
        portable = _copy_settings(_copy_data(record, paths), paths)
        for folder in (_DATA, _MEDIA, _SETTINGS):
            manifest.commit(paths.root / folder)
        import yaml

        write_text(paths.training_config, yaml.safe_dump(record.training_config, sort_keys=False, allow_unicode=True))
        portable.write(paths)
    except OSError as error:
        raise UnavailableError.of(
            f"The run directory cannot be made: {error.strerror}.",
            "make the folder writable, free disk space, or name another with TUNERY_RUNS",
            file=error.filename or paths.root,
        ) from error
    return portable


def upload(paths: RunPaths, store: Store, run_id: str) -> bool:
    """Puts a bundled run into a store, run.json last: from then on the run exists there.

    Returns:
        False when the run was there already, by whomever: it then stays as it is.
    """
    record = f"{run_id}/{paths.record.name}"
    if store.read(record) is not None:
        return False
    for folder in (_DATA, _MEDIA, _SETTINGS):
        push(paths.root / folder, store, f"{run_id}/{folder}", replace=False)
    store.write(f"{run_id}/{paths.training_config.name}", paths.training_config.read_bytes())
    content = paths.record.read_bytes()
    # A creation whose answer was lost finds itself there: that is the first one all the same.
    return store.write(record, content, if_absent=True) or store.read(record) == content


def _copy_data(record: RunRecord, paths: RunPaths) -> RunRecord:
    registered = json.loads(Path(record.dataset_info).read_text(encoding="utf-8"))
    names = list(dict.fromkeys(each.name for each in record.datasets)) + [each.name for each in record.remote_datasets]
    copied = []
    for dataset in record.datasets:
        source = Path(dataset.file)
        place = f"{_DATA}/{names.index(dataset.name):02d}/{source.name}"
        target = paths.root / place
        target.parent.mkdir(exist_ok=True)
        if source.is_file():
            shutil.copyfile(source, target)
        if not source.is_file() or manifest.sha256_file(target) != dataset.sha256:
            raise InputError.of("This data file has changed since the run was planned.", "run it again", file=source)
        copied.append(DatasetDigest(dataset.name, place, dataset.sha256))
        _copy_media(_media_columns(registered[dataset.name]), source, record, paths)
    info = f"{_SETTINGS}/dataset_info.json"
    write_json(paths.root / info, {name: registered[name] for name in names})
    config = {**record.training_config, "media_dir": _MEDIA}
    return replace(record, datasets=tuple(copied), dataset_info=info, training_config=config)


def _media_columns(entry: dict[str, Any]) -> list[str]:
    columns = entry.get("columns") or {}
    return [columns[name] for name in _MEDIA_COLUMNS if columns.get(name)]


def _copy_media(columns: Iterable[str], data: Path, record: RunRecord, paths: RunPaths) -> None:
    columns = list(columns)
    if not columns:
        return
    if data.suffix[1:] not in READABLE:
        raise InputError.of(
            "The media of this file cannot be sent along: only JSON, JSON lines and CSV are looked into.",
            "write the data set as JSON lines",
            file=data,
        )
    folder = Path(record.training_config["media_dir"])
    for number, row in enumerate(read_rows(data).values, start=1):
        for name in (each for column in columns for each in _named(row.get(column))):
            source = folder / name
            if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or not source.is_file():
                raise InputError.of(
                    f"Row {number} names {name!r}, which is no file under {folder}.",
                    "name media by their path below media_dir",
                    file=data,
                )
            target = paths.root / _MEDIA / name
            if not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, target)


def _named(value: Any) -> Iterable[str]:
    """The paths in a cell: one, several, or none."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for each in value:
            yield from _named(each)


def _copy_settings(record: RunRecord, paths: RunPaths) -> RunRecord:
    """Copies the files that the spec and the training config name, each under a name of its own."""
    spec, config = deepcopy(record.spec), dict(record.training_config)

    def take(source: Path, name: str) -> str:
        target = paths.root / _SETTINGS / name / source.name
        target.parent.mkdir()
        shutil.copyfile(source, target)
        return f"{name}/{source.name}"

    if questions := spec["evaluation"]["questions"]:
        questions["file"] = take(Path(record.spec_dir, questions["file"]), "questions")
    if (gate := spec["gate"]) and gate["baseline"]:
        gate["baseline"] = take(Path(record.spec_dir, gate["baseline"]), "baseline")
    for key in FILE_KEYS:
        if isinstance(config.get(key), str) and Path(config[key]).is_absolute():
            config[key] = f"{_SETTINGS}/{take(Path(config[key]), key)}"
    return replace(record, spec=spec, spec_dir=_SETTINGS, training_config=config)
