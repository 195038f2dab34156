"""A run whose directory is in a store: what a pod brings of it, and what it leaves there."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

from workloads.errors import InputError, Problem, UnavailableError
from workloads.render.steps import Step, base_needed
from workloads.runtime import ENV_BUNDLE, ENV_MODELS_STORE, ENV_SCRATCH, ENV_STORE, POD_SCRATCH, RunPaths, cache_dir
from workloads.stages.context import RunContext
from workloads.stages.runner import planned
from workloads.stages.stored_checkpoints import StoredCheckpoints
from workloads.storage.atomic import write_bytes
from workloads.storage.lease import Lease
from workloads.storage.manifest import Manifest
from workloads.storage.objects import DamagedError, Store, open_store
from workloads.storage.transfer import is_whole, pull, push, stored_manifest
from workloads.training.arguments import kept_checkpoints, resumable
from workloads.training.checkpoints import Retention
from workloads.training.signals import StopRequest

_WEIGHTS = {".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".gguf", ".h5", ".msgpack", ".onnx"}


@dataclass(frozen=True, slots=True)
class StoredRun:
    """One run on an environment, as one of its pods sees it.

    Attributes:
        store: where the team's run directories are, by id.
        models: where base models are, by revision.
        bundle: the run whose inputs it has: itself, or the one that a schedule starts again and again.
        paths: the run directory on this pod's disk.
        cache: where base models lie on this pod's disk, under ``models``.
        lease: the right to write to the run; a pod that only reads has none.
    """

    id: str
    store: Store
    models: Store
    bundle: str
    paths: RunPaths
    cache: Path
    lease: Lease | None = None

    @classmethod
    def of(cls, run_id: str, environ: Mapping[str, str]) -> StoredRun:
        """The run that a pod works on.

        Raises:
            InputError: the pod's environment lacks a variable.
        """
        for name in (ENV_STORE, ENV_MODELS_STORE):
            if not environ.get(name):
                raise InputError.of(f"{name} is not set.", "start stages with `tunery run --on ENV`", key=name)
        scratch = Path(environ.get(ENV_SCRATCH) or POD_SCRATCH)
        return cls(
            run_id,
            open_store(environ[ENV_STORE]),
            open_store(environ[ENV_MODELS_STORE]),
            environ.get(ENV_BUNDLE) or run_id,
            RunPaths((scratch / "runs" / run_id).resolve()),
            cache_dir(environ).resolve(),
        )

    def open(self, stop: StopRequest) -> RunContext:
        """Brings the record, the events and the markers; what this disk has already is left as it is.

        Raises:
            InputError: the store has no such run.
        """
        self._bring_file("run.json", self._record())
        for name in ("events.jsonl", "progress.json"):
            self._bring_file(name, self.store.read(f"{self.id}/{name}"))
        for each in self.store.under(f"{self.id}/stages"):
            name = each.key.removeprefix(f"{self.id}/")
            self._bring_file(name, self.store.read(each.key))
        context = RunContext.open(self.paths.root, stop)
        folder = self.cache / "models" / context.record.base.revision
        return self.bind(replace(context, base_folder=folder))

    def bind(self, context: RunContext) -> RunContext:
        """The context of a stage whose checkpoints and last words go into the store."""
        return replace(context, on_checkpoint=self.checkpoints(context), last_words=lambda _: self.send_news())

    def hold(self, part: str) -> StoredRun:
        """Takes the right to write what ``part`` of the run leaves; a pod that had it must stop.

        Every method that writes raises FencedError once another pod has done the same.
        """
        lease = Lease.take(self.store, f"{self.id}/leases/{part}", f"pod {socket.gethostname()}")
        return replace(self, lease=lease)

    def check(self) -> None:
        """Asks whether this pod may still write.

        Raises:
            FencedError: another one has taken over.
        """
        if self.lease is not None:
            self.lease.check()

    def check_if_possible(self) -> None:
        """As :meth:`check`, but a store that does not answer says nothing: a stop must stay one that costs nothing."""
        with suppress(UnavailableError):
            self.check()

    def checkpoints(self, context: RunContext) -> StoredCheckpoints:
        """The run's checkpoints in the store."""
        prefix = f"{self.id}/{self.paths.checkpoints.name}"
        retention = Retention(kept_checkpoints(context.config), context.spec.recovery.keep_every)
        return StoredCheckpoints(self.store, prefix, context.events, retention, lease=self.lease)

    def has(self, step: Step) -> bool:
        """Whether the store has a stage's marker and everything that it gives."""
        return (
            self.store.read(f"{self.id}/{self._marker(step.stage)}") is not None
            and all(is_whole(self.store, f"{self.id}/{name}") for name in step.gives)
            and all(self.store.read(f"{self.id}/{name}") is not None for name in step.writes)
        )

    def bring(self, step: Step, context: RunContext) -> None:
        """Brings what a stage reads; of a training that was interrupted also its newest checkpoint."""
        started = time.monotonic()
        size = 0
        for name in step.needs:
            owner = self.bundle if name.startswith(f"{self.paths.inputs.name}/") else self.id
            size += pull(self.store, f"{owner}/{name}", self.paths.root / name).size
        size += self._bring_base(step, context)
        if step.stage == "train" and resumable(context.config):
            self.checkpoints(context).bring_newest(self.paths)
        seconds = round(time.monotonic() - started, 3)
        context.events.append("inputs_ready", stage=step.stage, seconds=seconds, bytes=size)

    def keep_base(self, folder: Path, revision: str) -> None:
        """Puts a base model into the models store, where it never changes."""
        push(folder, self.models, revision, replace=False)

    def base_manifest(self, revision: str) -> Manifest | None:
        """The files of a base model in the models store."""
        return stored_manifest(self.models, revision)

    def has_base(self, revision: str) -> bool:
        """Whether the models store has the whole base model."""
        return is_whole(self.models, revision)

    def send(self, step: Step, context: RunContext) -> None:
        """Leaves what a stage gives in the store; :meth:`send_marker` makes it count."""
        self.check()
        started = time.monotonic()
        size = sum(push(self.paths.root / name, self.store, f"{self.id}/{name}").size for name in step.gives)
        self.send_files(step)
        seconds = round(time.monotonic() - started, 3)
        context.events.append("outputs_stored", stage=step.stage, seconds=seconds, bytes=size)

    def send_marker(self, step: Step, context: RunContext) -> None:
        """Leaves a finished stage's marker in the store: from then on the stage is done."""
        self.check()
        marker = self._marker(step.stage)
        self.store.write(f"{self.id}/{marker}", (self.paths.root / marker).read_bytes())
        if all(context.paths.marker(stage).is_file() for stage in planned(context)):
            context.events.append("run_finished")

    def send_files(self, step: Step) -> None:
        """Leaves the single files that a stage wrote in the store; there may be none when it failed."""
        self.check()
        for name in step.writes:
            path = self.paths.root / name
            if path.is_file():
                self.store.write(f"{self.id}/{name}", path.read_bytes())

    def send_news(self) -> None:
        """Leaves the events and the progress in the store, for whoever watches the run."""
        self.check()
        for path in (self.paths.events, self.paths.progress):
            if path.is_file():
                self.store.write(f"{self.id}/{path.name}", path.read_bytes())

    def _record(self) -> bytes:
        key = f"{self.id}/{self.paths.record.name}"
        content = self.store.read(key)
        if content is None and self.bundle != self.id:
            content = self._record_of_firing(key)
        if content is None:
            raise InputError.of(
                f"The store has no run {self.id}.",
                "start it with `tunery run --on ENV`",
                file=f"{self.store.url}/{key}",
            )
        return content

    def _record_of_firing(self, key: str) -> bytes | None:
        """Makes the record of a schedule's firing: that of the bundle under a name of its own."""
        content = self.store.read(f"{self.bundle}/{self.paths.record.name}")
        if content is None:
            return None
        value = json.loads(content) | {"id": self.id, "created": datetime.now(UTC).isoformat(timespec="seconds")}
        self.store.write(key, json.dumps(value, indent=2, ensure_ascii=False).encode(), if_absent=True)
        return self.store.read(key)

    def _bring_file(self, name: str, content: bytes | None) -> None:
        path = self.paths.root / name
        if content is not None and not path.exists():
            write_bytes(path, content)

    def _bring_base(self, step: Step, context: RunContext) -> int:
        """Brings the base model or the part of it that a stage needs; bytes."""
        part = base_needed(step, adapter=context.is_lora, merged=context.spec.export.merge)
        if part == "none":
            return 0
        revision, folder = context.record.base.revision, context.base_model
        recorded = stored_manifest(self.models, revision)
        # A commit names content by the hub's word; what the fetch stage has verified is the digest.
        digest = context.outputs("fetch").get("digest") if context.paths.marker("fetch").is_file() else None
        if recorded is not None and (recorded.revision != revision or digest not in (None, recorded.digest)):
            fix = "remove that folder from the store; the fetch stage of a new run brings it again"
            where = f"{self.models.url}/{revision}"
            raise DamagedError(Problem("The base model is not the one of its name.", fix, where, code="damaged"))
        wanted = _any if part == "weights" else _no_weights
        return pull(self.models, revision, folder, wanted=wanted).size

    def _marker(self, stage: str) -> str:
        return self.paths.marker(stage).relative_to(self.paths.root).as_posix()


def _any(_: str) -> bool:
    return True


def _no_weights(path: str) -> bool:
    return PurePosixPath(path).suffix not in _WEIGHTS
