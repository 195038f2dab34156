"""Data sets that are not in files where a run is started: from the hub or Cloud Storage to rows in a file."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from workloads.errors import InputError, Problem
from workloads.hub import open_datasets
from workloads.hub.cache import cached, cached_copy
from workloads.hub.cache_room import hold
from workloads.hub.interface import ModelReference
from workloads.hub.object_datasets import ObjectDatasets
from workloads.run_record import RemoteDataset
from workloads.runtime import cache_dir
from workloads.stages.context import RunContext
from workloads.storage import manifest
from workloads.training_config.datasets import PLACE_KEYS, DatasetFile, check_rows


def bring(context: RunContext) -> dict[str, Any]:
    """Brings every such data set into the cache, verified.

    Returns:
        Name in dataset_info.json -> source, revision, digest of its files, and the folder where they lie.
    """
    found: dict[str, Any] = {}
    for dataset in context.record.remote_datasets:
        folder = _cached(dataset).resolve()
        recorded = manifest.read(folder)
        found[dataset.name] = {
            "source": dataset.source,
            "revision": dataset.revision,
            "digest": None if recorded is None else recorded.digest,
            "folder": str(folder),
        }
    return found


def _cached(dataset: RemoteDataset) -> Path:
    copy = cached_copy(dataset.revision, cache_dir(), "datasets")
    if copy is not None:
        return copy
    if dataset.sha256 is not None:
        objects = ObjectDatasets()
        version = objects.resolve(dataset.source, dataset.sha256)
        return cached(objects, version, cache_dir(), kind="datasets")
    hub = open_datasets()
    version = hub.resolve(ModelReference(dataset.source, dataset.revision))
    return cached(hub, version, cache_dir(), kind="datasets")


def place(context: RunContext, brought: Mapping[str, Any]) -> dict[str, Any]:
    """Copies what :func:`bring` brought into the run directory, for stages that work on other machines."""
    shutil.rmtree(context.paths.fetched, ignore_errors=True)
    context.paths.fetched.mkdir(parents=True)
    placed: dict[str, Any] = {}
    for number, (name, each) in enumerate(brought.items()):
        target = context.paths.fetched / f"{number:02d}"
        shutil.copytree(each["folder"], target, ignore=shutil.ignore_patterns(manifest.MANIFEST_NAME))
        placed[name] = {**each, "folder": target.relative_to(context.paths.root).as_posix()}
    manifest.commit(context.paths.fetched)
    return placed


def intact(context: RunContext) -> bool:
    """Whether what was brought is still there; it is then kept while this process lives."""
    folders = [context.file(each["folder"]) for each in context.outputs("fetch").get("datasets", {}).values()]
    return all(hold(folder) and not manifest.damage(folder, full=False) for folder in folders)


def write_rows(context: RunContext, name: str, entry: Mapping[str, Any], target: Path) -> dict[str, Any]:
    """Writes a data set's rows to a file in ``target`` and looks at each, as `tunery check` does with files.

    Args:
        entry: what dataset_info.json says about it.

    Returns:
        The entry, with the file's name in ``target`` in the place of where the data set came from.

    Raises:
        InputError: what was fetched has changed since, has no such subset or split, or rows are malformed.
    """
    brought = context.outputs("fetch")["datasets"][name]
    folder = context.file(brought["folder"])
    if manifest.scan(folder).digest != brought["digest"]:
        raise InputError.of("What was fetched has changed.", "remove the folder, and run again", file=folder)
    dataset = next(each for each in context.record.remote_datasets if each.name == name)
    if dataset.sha256 is not None:
        source = folder / dataset.source.rpartition("/")[2]
        file = target / source.name
        shutil.copyfile(source, file)
    else:
        file = _converted(folder, name, entry, context.file(context.record.dataset_info), target)
    info = context.file(context.record.dataset_info)
    evaluated = name not in _names(context.config.get("dataset"))
    written = DatasetFile(name, (file,), entry, "eval" if evaluated else "train", info)
    stage, generates = str(context.config.get("stage", "sft")), bool(context.config.get("predict_with_generate"))
    problems = [each for each in check_rows(written, stage, generates=generates) if not each.is_warning]
    if problems:
        raise InputError(problems)
    return {key: value for key, value in entry.items() if key not in PLACE_KEYS} | {"file_name": file.name}


def _converted(folder: Path, name: str, entry: Mapping[str, Any], info: Path, target: Path) -> Path:
    """The rows of the subset and split that are meant, as the library reads them that LLaMA-Factory uses."""
    from datasets import load_dataset
    from datasets.exceptions import DatasetsError
    from datasets.features.features import require_decoding

    cache = target / ".loading"  # hidden, so that no manifest lists it when the process is killed
    try:
        rows = load_dataset(
            str(folder),
            name=entry.get("subset"),
            data_dir=entry.get("folder"),
            split=entry.get("split", "train"),
            cache_dir=str(cache),
        )
        if any(require_decoding(feature) for feature in rows.features.values()):  # images, which JSON cannot hold
            file = target / "rows.parquet"
            rows.to_parquet(file)
        else:
            file = target / "rows.jsonl"
            rows.to_json(file, force_ascii=False)
    except (DatasetsError, ValueError, FileNotFoundError) as error:
        said = " ".join(str(error.__cause__ or error).replace(str(folder), str(entry.get("hf_hub_url"))).split())
        fix = "correct subset, split or folder, or the README.md of the data set, which says what it has"
        message = f"The data set cannot be read: {said[:500]}"
        raise InputError(Problem(message, fix, str(info), key=name, code="dataset-entry")) from error
    finally:
        shutil.rmtree(cache, ignore_errors=True)
    return file


def _names(value: Any) -> list[str]:
    """The data sets that a key of the training config names."""
    given = value.split(",") if isinstance(value, str) else value or []
    return [str(each).strip() for each in given]
