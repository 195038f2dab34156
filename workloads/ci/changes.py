"""Which configs say something else than at an earlier commit.

A config is compared by what decides a run's result: its values after overrides, and the digests of its data files,
questions and other files. A comment, another order of keys, a moved file or a new time of change is no change.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workloads.ci.repository import Repository
from workloads.engines.create import content_of
from workloads.errors import InputError, Problem
from workloads.run_spec_loader import ResolvedSpec, load_run_spec
from workloads.storage.manifest import sha256_file

SPECS = "configs/runs"
TRAININGS = "configs/training"
_PROBLEMS = "problems"


@dataclass(frozen=True, slots=True)
class Config:
    """A run spec or a bare training config of the working tree.

    Attributes:
        place: relative to the repository.
        resolved: None when it cannot be loaded.
        problems: what is wrong with it; its data are not read for that.
        parts: what decides a result, by the name that people know it by.
    """

    place: str
    is_run: bool
    resolved: ResolvedSpec | None
    problems: tuple[Problem, ...]
    parts: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Change:
    """A config that is new or says something else; ``what`` names the parts."""

    config: Config
    what: tuple[str, ...]


def configs(root: Path) -> Iterator[Config]:
    """Every run spec, then every training config, in the order of the alphabet."""
    for folder, is_run in ((SPECS, True), (TRAININGS, False)):
        for path in sorted((root / folder).glob("*.yaml")):
            yield _read(root, f"{folder}/{path.name}", is_run=is_run)


def changes(repository: Repository, now: list[Config], base: str | None) -> list[Change]:
    """Those of ``now`` that differ from the files at the commit ``base``; all, when there was none before."""
    with repository.files_at(base) as before:
        found = [_compare(config, before) for config in now]
    return [change for change in found if change.what]


def _compare(config: Config, before: Path) -> Change:
    if not (before / config.place).is_file():
        return Change(config, ("new",))
    earlier = _read(before, config.place, is_run=config.is_run).parts
    if (_PROBLEMS in earlier) != (_PROBLEMS in config.parts):
        return Change(config, ("wrong before",) if _PROBLEMS in earlier else ("wrong now",))
    names = dict.fromkeys((*config.parts, *earlier))
    return Change(config, tuple(name for name in names if config.parts.get(name) != earlier.get(name)))


def _read(root: Path, place: str, *, is_run: bool) -> Config:
    # As a person in this folder would write it, so that messages are those that they would see.
    path = Path(place) if root == Path.cwd() else root / place
    resolved = None
    try:
        resolved = load_run_spec(path)
        problems = tuple(each for each in resolved.check(data=False) if not each.is_warning)
    except InputError as error:
        problems = error.problems
    if resolved is None or problems:
        # Wherever the files lie the same mistake is the same: what was wrong before is not this push's doing.
        said = [str(each).replace(f"{root}/", "") for each in problems]
        return Config(place, is_run, resolved, problems, {_PROBLEMS: said, "text": sha256_file(path)})
    return Config(place, is_run, resolved, (), _parts(resolved))


def _parts(resolved: ResolvedSpec) -> dict[str, Any]:
    content = content_of(resolved)
    base = resolved.spec.base
    return {
        "name": resolved.spec.name,
        "training config": content.learnt,
        "run spec": content.decided_by,
        "base model": base.model_dump() if base else resolved.training.values.get("model_name_or_path"),
        "data": content.data,
        "questions": content.questions,
    }
