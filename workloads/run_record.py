"""The record of a run: everything that decides its result, resolved and digested, in ``run.json``."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any

from workloads.errors import InputError
from workloads.runtime import RunPaths
from workloads.storage.atomic import read_json, write_json

FILE_KEYS = ("deepspeed", "fsdp_config", "new_special_tokens_config")
"""Keys of a training config that may name a file."""


@dataclass(frozen=True, slots=True)
class BaseModel:
    """The base model that a run starts from.

    Attributes:
        model: the name in the hub, or the folder as the user wrote it.
        revision: 40 hex digits that name its content.
        reference: ``NAME@VERSION`` in the hub; None for a folder.
        folder: a folder on this machine; None when the fetch stage has to bring it from the hub.
    """

    model: str
    revision: str
    reference: str | None
    folder: str | None


@dataclass(frozen=True, slots=True)
class DatasetDigest:
    """One data file of a run.

    Attributes:
        name: its name in dataset_info.json.
        file: its path: absolute, or inside the run directory of a run that can be sent elsewhere.
        sha256: of its content, in hex.
    """

    name: str
    file: str
    sha256: str


@dataclass(frozen=True, slots=True)
class RemoteDataset:
    """A data set of a run that the fetch stage brings.

    Attributes:
        name: its name in dataset_info.json.
        source: its name in the hub, or ``gs://BUCKET/KEY``.
        revision: 40 hex digits that name its content: those of a version in the hub, or the start of ``sha256``.
        sha256: of an object's content, in hex; None for a data set in the hub.
        size: bytes of its files; 0 for an object, which is not looked for when a run is planned.
    """

    name: str
    source: str
    revision: str
    sha256: str | None = None
    size: int = 0


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One run, as ``run.json`` holds it.

    Paths are absolute, or relative to the run directory in a run that was made to be sent to an environment.
    """

    id: str
    name: str
    created: str
    spec: dict[str, Any]
    spec_dir: str
    training_config: dict[str, Any]
    config_digest: str
    base: BaseModel
    dataset_info: str
    datasets: tuple[DatasetDigest, ...]
    versions: dict[str, str]
    git_commit: str | None
    seed: int
    trials: tuple[dict[str, Any], ...] = ()
    """Of a run with a sweep, each trial's parameters: drawn once, when the run is planned."""
    remote_datasets: tuple[RemoteDataset, ...] = ()

    def write(self, paths: RunPaths) -> None:
        """Writes run.json: from then on the run exists."""
        write_json(paths.record, asdict(self))

    @classmethod
    def read(cls, paths: RunPaths) -> RunRecord:
        """Raises InputError when the folder is not a run directory."""
        value = read_json(paths.record)
        try:
            base = BaseModel(**value.pop("base"))
            datasets = tuple(DatasetDigest(**each) for each in value.pop("datasets"))
            remote = tuple(RemoteDataset(**each) for each in value.pop("remote_datasets", ()))
            trials = tuple(dict(each) for each in value.pop("trials", ()))
            return cls(base=base, datasets=datasets, remote_datasets=remote, trials=trials, **value)
        except (AttributeError, KeyError, TypeError) as error:
            raise InputError.of(
                "This is not a run directory: it has no readable run.json.",
                "name a run id from `tunery list`, or start the run again from its spec",
                file=paths.root,
            ) from error


def digest_of(value: Any) -> str:
    """SHA-256 (hex) of a JSON value, independent of key order."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def run_id(name: str, *parts: Any) -> str:
    """A run's id: its name and 10 hex digits of everything that decides its result."""
    return f"{name}-{digest_of(parts)[:10]}"
