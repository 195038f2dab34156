"""What is left of runs and needed by nobody. Pure: facts in, what may go out.

Never listed is anything of a run that is active, that did something lately, or of which it is not known; of a
published model anything but its training's checkpoints; the result of any run (trained/, export/), its record, its
events and its markers; and the last checkpoints of a run that could still go on from them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from workloads.engines.stored_runs import newest
from workloads.explain.objects import name_of, part, seconds, table, text
from workloads.runtime import STAGES
from workloads.storage.manifest import MANIFEST_NAME
from workloads.storage.objects import StoredObject

_ID = re.compile(r"[a-z0-9][a-z0-9-]*-[0-9a-f]{10}")
_BUNDLE = ("inputs/", "training.yaml")
"""What is sent of a run before its record."""
_CHECKPOINT = re.compile(r"(?:.*/)?checkpoint-\d+")
_OPTIONAL = ("publish", "serve")
_DONE_LABEL = "workflows.argoproj.io/completed"


@dataclass(frozen=True, slots=True)
class StoredRun:
    """A run directory, in a store or on this machine.

    Attributes:
        objects: keys without the run's id.
        active: whether something works on it, waits to, or starts from its inputs.
        record: its run.json; empty when it has none.
        trained: whether the result of its training is whole.
    """

    id: str
    objects: tuple[StoredObject, ...]
    active: bool
    record: Mapping[str, Any]
    trained: bool = False

    @property
    def finished(self) -> bool:
        """Whether every stage of its spec has its marker."""
        there = {each.key for each in self.objects}
        spec = table(self.record.get("spec"))
        wanted = [stage for stage in STAGES if stage not in _OPTIONAL or spec.get(stage)]
        return bool(self.record) and all(f"stages/{stage}.json" in there for stage in wanted)

    @property
    def published(self) -> bool:
        """Whether a model came of it that is in the hub."""
        return any(each.key == "stages/publish.json" for each in self.objects)

    @property
    def made(self) -> tuple[str, str]:
        """Its name, and when it was made."""
        return text(self.record.get("name")), text(self.record.get("created"))


@dataclass(frozen=True, slots=True)
class Leftover:
    """A folder or file of a run that may go; ``path`` is its key in the store."""

    run: str
    path: str
    why: str
    size: int
    modified: float

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return {"run": self.run, "path": self.path, "why": self.why, "bytes": self.size, "modified": self.modified}


@dataclass(frozen=True, slots=True)
class OldObject:
    """A Kubernetes object that its time limit should have removed."""

    kind: str
    name: str
    uid: str
    why: str

    def as_dict(self) -> dict[str, str]:
        """For ``--json``."""
        return {"kind": self.kind, "name": self.name, "why": self.why}


def leftovers(runs: Iterable[StoredRun], *, now: float, older_than: float) -> list[Leftover]:
    """What may go of these runs, which are all that there are; ``older_than`` is in seconds."""
    known = list(runs)
    done = [run.made for run in known if run.finished]
    found: list[Leftover] = []
    for run in known:
        last = newest(run.objects)
        if run.active or last is None or now - last < older_than:
            continue
        folders = dict(_never_sent(run) if not run.record else _of(run, superseded=_superseded(run, done)))
        found += (_leftover(run, folder, why) for folder, why in sorted(folders.items()))
    return found


def _never_sent(run: StoredRun) -> Iterator[tuple[str, str]]:
    if _ID.fullmatch(run.id) and all(each.key.startswith(_BUNDLE) for each in run.objects):
        yield "", "was never sent to its end"


def _of(run: StoredRun, *, superseded: bool) -> Iterator[tuple[str, str]]:
    """Folder of the run -> why it may go."""
    for name in sorted({each.key.partition("/")[0] for each in run.objects if "/" in each.key}):
        if name.endswith(".partial"):
            yield name, "was never written to its end"
    if run.trained:
        yield from _folder(run, "checkpoints", "the training's result is whole")
        yield from _folder(run, "damaged", "the training's result is whole")
    elif superseded:
        yield from _folder(run, "checkpoints", "a later run of this name has finished")
    else:
        for name in _torn(run):
            yield name, "has no manifest, so nobody would resume from it"
    if run.finished and not run.published:
        yield from _folder(run, "data", "the run has finished; prepare makes it again")


def _folder(run: StoredRun, name: str, why: str) -> Iterator[tuple[str, str]]:
    if any(each.key.startswith(f"{name}/") for each in run.objects):
        yield name, why


def _torn(run: StoredRun) -> Iterator[str]:
    """Checkpoints whose upload was cut off."""
    keys = {each.key for each in run.objects}
    for folder in sorted({"/".join(key.split("/")[:2]) for key in keys if key.startswith("checkpoints/")}):
        if _CHECKPOINT.fullmatch(folder) and f"{folder}/{MANIFEST_NAME}" not in keys:
            yield folder


def _superseded(run: StoredRun, done: list[tuple[str, str]]) -> bool:
    name, created = run.made
    return bool(name and created) and any(other == name and later > created for other, later in done)


def _leftover(run: StoredRun, folder: str, why: str) -> Leftover:
    inside = [each for each in run.objects if not folder or each.key.startswith(f"{folder}/")]
    path = f"{run.id}/{folder}".rstrip("/")
    return Leftover(run.id, path, why, sum(each.size for each in inside), newest(inside) or 0.0)


def old_objects(
    workflows: Iterable[Mapping[str, Any]],
    templates: Iterable[Mapping[str, Any]],
    schedules: Iterable[Mapping[str, Any]],
    *,
    run_label: str,
    now: float,
    older_than: float,
) -> list[OldObject]:
    """Workflows that ended long ago, and templates of runs that have neither a workflow nor a schedule."""
    found: list[OldObject] = []
    needed = {text(part(each, "metadata", "labels", run_label)) for each in schedules}
    for each in workflows:
        old = now - seconds(part(each, "metadata", "creationTimestamp")) >= older_than
        if part(each, "metadata", "labels", _DONE_LABEL) == "true" and old:
            found.append(_old("Workflow", each, "it ended long ago"))
        else:
            needed |= {name_of(dict(each)), text(part(each, "metadata", "labels", run_label))}
    for each in templates:
        old = now - seconds(part(each, "metadata", "creationTimestamp")) >= older_than
        if old and text(part(each, "metadata", "labels", run_label)) and name_of(dict(each)) not in needed:
            found.append(_old("WorkflowTemplate", each, "no workflow and no schedule needs it"))
    return found


def active_runs(
    workflows: Iterable[Mapping[str, Any]], schedules: Iterable[Mapping[str, Any]], *, run_label: str
) -> set[str]:
    """The runs that something works on, waits to, or starts from."""
    found = {text(part(each, "metadata", "labels", run_label)) for each in schedules}
    for each in workflows:
        if part(each, "metadata", "labels", _DONE_LABEL) != "true":
            found |= {name_of(dict(each)), text(part(each, "metadata", "labels", run_label))}
    return found - {""}


def _old(kind: str, thing: Mapping[str, Any], why: str) -> OldObject:
    return OldObject(kind, name_of(dict(thing)), text(part(thing, "metadata", "uid")), why)
