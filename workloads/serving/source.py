"""From what a person calls a model to folders that are known to be whole; light, so that errors come at once."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workloads.errors import InputError, Problem
from workloads.hub import open_hub
from workloads.hub.cache import cached
from workloads.hub.interface import ModelReference
from workloads.runtime import cache_dir
from workloads.storage import manifest
from workloads.storage.atomic import read_json

if TYPE_CHECKING:
    from workloads.hub.interface import Hub

_ADAPTER, _MODEL = "adapter_config.json", "config.json"


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model that is on this machine and whole.

    Attributes:
        name: ``NAME@VERSION``, or a folder's name.
        other_names: what else the hub calls it.
        digest: SHA-256 (hex) of its manifest; None for a folder without one.
        base: the weights that an adapter belongs to; None for a whole model.
        training_config: the config it was trained with; empty when that is not known.
    """

    name: str
    folder: Path
    other_names: tuple[str, ...] = ()
    version: str | None = None
    digest: str | None = None
    base: Path | None = None
    training_config: Mapping[str, Any] = field(default_factory=dict)

    def is_plain(self, template: str | None) -> bool:
        """Whether nothing says how this model wants to be spoken to, so that it gets bare text."""
        tokenizer = read_json(self.folder / "tokenizer_config.json") or {}
        return not (
            template
            or self.training_config.get("template")
            or tokenizer.get("chat_template")
            or (self.folder / "chat_template.jinja").is_file()
        )


def find_model(text: str, environ: Mapping[str, str] = os.environ) -> ServedModel:
    """The model that ``text`` names: ``NAME``, ``NAME@VERSION``, ``NAME@ALIAS`` or a folder.

    Raises:
        InputError: there is no such model, or the folder holds none, or its base is unknown.
        TuneryError: it is damaged.
    """
    path = Path(text).expanduser()
    if path.is_absolute() or text.startswith((".", "~")) or _holds_model(path):
        return _from_folder(path)
    hub = open_hub(environ)
    reference = ModelReference.parse(text)
    version = hub.resolve(reference)
    folder = cached(hub, version, cache_dir(environ))
    lineage = hub.lineage(version)
    aliases = (f"{version.name}@{alias}" for alias in version.aliases)
    return ServedModel(
        version.reference,
        folder,
        other_names=tuple(dict.fromkeys((version.name, *aliases, text))),
        version=version.version,
        digest=version.digest,
        base=_base_of(hub, lineage.get("base") or {}, version.reference, environ) if _is_adapter(folder) else None,
        training_config=lineage.get("training_config") or {},
    )


def _is_adapter(folder: Path) -> bool:
    return (folder / _ADAPTER).is_file() and not (folder / _MODEL).is_file()


def _holds_model(folder: Path) -> bool:
    return (folder / _MODEL).is_file() or (folder / _ADAPTER).is_file()


def _base_of(hub: Hub, base: Mapping[str, Any], of: str, environ: Mapping[str, str]) -> Path:
    if base.get("reference"):
        name = ModelReference.parse(base["reference"]).name
        return cached(hub, hub.resolve(ModelReference(name, base["revision"])), cache_dir(environ))
    folder = Path(base.get("folder") or "")
    if base.get("folder") and _holds_model(folder):
        return folder
    raise InputError.of(
        f"{of} is an adapter, and its base model {base.get('model') or '(not recorded)'} is not on this machine.",
        "import the base model into the hub, or publish the model merged (export.merge: true)",
    )


def _from_folder(folder: Path) -> ServedModel:
    if not folder.is_dir():
        raise InputError.of(
            "There is no such folder.", "name a folder, or a model of the hub (`tunery models`)", file=folder
        )
    if not _holds_model(folder):
        raise InputError.of(
            f"This folder holds no model: it has neither {_MODEL} nor {_ADAPTER}.",
            "name a folder in Hugging Face's layout, such as a run's export folder",
            file=folder,
        )
    known = manifest.read(folder)
    if known is not None and (found := manifest.damage(folder)):
        raise InputError(
            [
                Problem(f"The model is damaged: {each}.", "make it again, or copy it again", file=str(folder))
                for each in found
            ]
        )
    folder = folder.resolve()
    return ServedModel(
        folder.name,
        folder,
        digest=None if known is None else known.digest,
        base=_base_of_adapter(folder) if _is_adapter(folder) else None,
    )


def _base_of_adapter(folder: Path) -> Path:
    named = (read_json(folder / _ADAPTER) or {}).get("base_model_name_or_path")
    if named and _holds_model(Path(named)):
        return Path(named)
    raise InputError.of(
        f"This folder holds an adapter, and its base model {named!r} is not a folder on this machine.",
        "put the base model there, or serve a merged model",
        file=folder / _ADAPTER,
    )
