"""Adding a base model or a data set from a folder: only what can be trained from, and nothing that runs code."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from workloads.errors import InputError, Problem
from workloads.hub.folder import model_files
from workloads.hub.interface import Hub, ModelVersion, Progress

PICKLE = {".bin", ".ckpt", ".pickle", ".pkl", ".pt", ".pth"}
"""Suffixes of files that may hold pickled objects, which run code when they are loaded."""
_TOKENIZERS = {
    "sentencepiece.bpe.model",
    "spiece.model",
    "tekken.json",
    "tokenizer.json",
    "tokenizer.model",
    "vocab.json",
    "vocab.txt",
}
_INDEX = "model.safetensors.index.json"
_LONGEST_HEADER = 100_000_000
"""Bytes; the limit that the safetensors format sets."""
_DOWNLOAD_AGAIN = "download the file again"


def refuse_pickle(reference: str, paths: Iterable[str]) -> None:
    """Raises InputError when files of the base model ``reference`` may hold pickled objects."""
    if pickled := [path for path in paths if PurePosixPath(path).suffix in PICKLE]:
        raise InputError.of(
            f"{reference} has its weights in pickle files, which can run any code: {', '.join(pickled)}.",
            "choose a model with safetensors, or set base.allow_pickle: true if you trust who made it",
            key="base.allow_pickle",
        )


def import_folder(
    hub: Hub,
    folder: Path,
    name: str,
    *,
    version: str | None = None,
    aliases: Sequence[str] = (),
    allow_pickle: bool = False,
    on_bytes: Progress | None = None,
) -> ModelVersion:
    """Adds the base model in ``folder`` to the hub, with an empty lineage.

    Args:
        allow_pickle: also accept weights in pickle files, which run code when they are loaded.
        on_bytes: as for :meth:`workloads.hub.interface.Hub.publish`.

    Raises:
        InputError: the folder is not a whole base model; everything that is wrong with it at once.
    """
    paths = [file.path for file in model_files(folder)]
    if "config.json" not in paths:
        raise _not_a_model(folder, paths)
    problems = [*_config(folder / "config.json"), *_tokenizer(folder, paths), *_weights(folder, paths, allow_pickle)]
    if problems:
        raise InputError(problems)
    return hub.publish(folder, name, lineage={}, aliases=aliases, version=version, on_bytes=on_bytes)


def import_dataset(
    hub: Hub,
    folder: Path,
    name: str,
    *,
    version: str | None = None,
    aliases: Sequence[str] = (),
    on_bytes: Progress | None = None,
) -> ModelVersion:
    """Adds the data set in ``folder`` to the data sets of a hub.

    Raises:
        InputError: the folder has no data files, or others that a data set does not have.
    """
    from workloads.training_config.data_rows import KINDS

    paths = [file.path for file in model_files(folder)]
    data = [path for path in paths if PurePosixPath(path).suffix[1:] in KINDS]
    other = sorted({*paths} - {*data, "README.md"})
    if other or not data:
        raise InputError.of(
            f"A data set has files of other kinds than these: {', '.join(other)}."
            if other
            else "There is no data file.",
            f"let the folder have {', '.join(sorted(KINDS))} files and at most a README.md",
            file=folder,
        )
    return hub.publish(folder, name, lineage={}, aliases=aliases, version=version, on_bytes=on_bytes)


def _not_a_model(folder: Path, paths: Sequence[str]) -> InputError:
    if "adapter_config.json" in paths:
        message, fix = "This is a LoRA adapter, which is no base model.", "import the model that it was trained on"
    else:
        message = "The folder is not a model: it has no config.json."
        fix = "name the folder that holds config.json, weights and tokenizer"
    return InputError.of(message, fix, file=folder)


def _config(path: Path) -> Iterable[Problem]:
    config = _json(path)
    if not isinstance(config, dict) or not isinstance(config.get("model_type"), str):
        message = "It does not describe a model: it is not JSON with a model_type."
        yield Problem(message, _DOWNLOAD_AGAIN, str(path), key="model_type")


def _tokenizer(folder: Path, paths: Sequence[str]) -> Iterable[Problem]:
    if not _TOKENIZERS & set(paths) and not any(path.endswith(".tiktoken") for path in paths):
        message = "The folder has no tokenizer."
        yield Problem(message, "add the tokenizer's files, such as tokenizer.json", str(folder))


def _weights(folder: Path, paths: Sequence[str], allow_pickle: bool) -> Iterable[Problem]:
    safe = [path for path in paths if path.endswith(".safetensors")]
    pickled = [path for path in paths if PurePosixPath(path).suffix in PICKLE]
    if pickled and not allow_pickle:
        message = f"Pickle files can run any code on the machine that loads them: {', '.join(pickled)}."
        fix = "remove them, as the safetensors files hold the weights" if safe else "convert the weights to safetensors"
        yield Problem(message, f"{fix}, or pass --allow-pickle if you trust who made them", str(folder))
    if not safe and not pickled:
        yield Problem("The folder has no weights.", "add the model's *.safetensors files", str(folder))
    for path in safe:
        if (reason := _broken_safetensors(folder / path)) is not None:
            yield Problem(reason, _DOWNLOAD_AGAIN, str(folder / path))
    if _INDEX in paths:
        yield from _missing_shards(folder / _INDEX, set(paths))


def _broken_safetensors(path: Path) -> str | None:
    """What is wrong with the frame of a safetensors file: 8 bytes of header length, a JSON header, the tensors."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        start = stream.read(8)
        if start == b"version ":
            return "It is a Git LFS pointer, not the weights; `git lfs pull` brings them."
        length = int.from_bytes(start, "little")
        if len(start) < 8 or length > min(_LONGEST_HEADER, size - 8):
            return "It is not a whole safetensors file: its header is broken or cut off."
        text = stream.read(length)
    try:
        tensors = [value for key, value in json.loads(text).items() if key != "__metadata__"]
        expected = 8 + length + max((int(tensor["data_offsets"][1]) for tensor in tensors), default=0)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError):
        return "It is not a safetensors file: its header is broken."
    return None if size == expected else f"It has {size:,} bytes and its header says {expected:,}: it is cut off."


def _missing_shards(index: Path, paths: set[str]) -> Iterable[Problem]:
    value = _json(index)
    shards = value.get("weight_map") if isinstance(value, dict) else None
    if not isinstance(shards, dict):
        yield Problem("It does not say which file has which weights.", _DOWNLOAD_AGAIN, str(index), key="weight_map")
        return
    for shard in sorted({str(each) for each in shards.values()} - paths):
        yield Problem(f"It names {shard}, which is not there.", "download that file too", str(index), key="weight_map")


def _json(path: Path) -> Any:
    """The value in a JSON file, or None when it is not one."""
    try:
        return json.loads(path.read_bytes())
    except ValueError:
        return None
