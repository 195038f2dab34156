"""A run's checkpoints in its store: where the next pod goes on when this one's disk is gone."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from pathlib import Path

from workloads.errors import Preempted, TuneryError
from workloads.events import EventLog
from workloads.runtime import RunPaths
from workloads.stages.patience import Patience
from workloads.storage import manifest
from workloads.storage.lease import FencedError, Lease
from workloads.storage.manifest import MANIFEST_NAME
from workloads.storage.objects import DamagedError, Store
from workloads.storage.transfer import pull, push
from workloads.training.checkpoints import Retention, list_checkpoints

_WAIT_SECONDS = 60.0
"""How long a training stands still for a store that is away, before it goes on without this checkpoint."""


@dataclass(frozen=True, slots=True)
class StoredCheckpoints:
    """The checkpoints of a run under ``prefix`` of its store; called with each that is committed.

    Attributes:
        retention: which of them stay.
        lease: the right to write here; it is checked before each change.
    """

    store: Store
    prefix: str
    events: EventLog
    retention: Retention
    patience: Patience = field(default_factory=lambda: Patience(limit=_WAIT_SECONDS))
    lease: Lease | None = None

    def __call__(self, folder: Path, step: int) -> None:
        """Uploads a committed checkpoint and removes those that it makes superfluous.

        A store that stays away costs no training: the checkpoint is still on this disk, and the next one is uploaded.

        Raises:
            FencedError: another pod has taken over the training.
        """
        started = time.monotonic()
        try:
            self.patience(lambda: self._push(folder))
            self._retain()
        except (Preempted, FencedError):
            raise
        except TuneryError as error:
            self.events.append("checkpoint_not_stored", step=step, reason=str(error.problems[0].message))
            return
        self.events.append("checkpoint_stored", step=step, seconds=round(time.monotonic() - started, 3))

    def _push(self, folder: Path) -> None:
        """Creates the checkpoint's objects, and replaces none that the newest pod could have written.

        What an earlier pod left of the same step, or a part of it, is removed first.
        """
        key = f"{self.prefix}/{folder.name}"
        self._check()
        try:
            push(folder, self.store, key, replace=False)
        except DamagedError:
            self._check()
            self.store.delete(key)
            push(folder, self.store, key, replace=False)

    def _check(self) -> None:
        if self.lease is not None:
            self.lease.check()

    def send_newest(self, output_dir: Path) -> None:
        """Uploads the newest committed checkpoint of this disk, unless the store has it."""
        for checkpoint in list_checkpoints(output_dir):
            if manifest.read(checkpoint.folder) is not None:
                if checkpoint.step not in self.steps():
                    self(checkpoint.folder, checkpoint.step)
                return

    def steps(self) -> list[int]:
        """The steps of the checkpoints that have a manifest, newest first."""
        name = re.compile(rf"{re.escape(self.prefix)}/checkpoint-(\d+)/{re.escape(MANIFEST_NAME)}")
        found = (name.fullmatch(each.key) for each in self.store.under(self.prefix))
        return sorted((int(match[1]) for match in found if match), reverse=True)

    def bring_newest(self, paths: RunPaths) -> int | None:
        """Brings the newest checkpoint that verifies, unless this disk has one as new; its step, or None.

        A damaged one is reported, loses its manifest, and the one before it is brought.
        """
        here = max((each.step for each in list_checkpoints(paths.checkpoints)), default=-1)
        for step in self.steps():
            if step <= here:
                break
            name = f"checkpoint-{step}"
            try:
                pull(self.store, f"{self.prefix}/{name}", paths.checkpoints / name)
            except DamagedError as error:
                reasons = [f"{problem.file}: {problem.message}" for problem in error.problems]
                self.events.append("checkpoint_damaged", checkpoint=name, reasons=reasons)
                self._check()
                self.store.delete(f"{self.prefix}/{name}/{MANIFEST_NAME}")
                continue
            return step
        return here if here >= 0 else None

    def _retain(self) -> None:
        self._check()
        for step in self.retention.superfluous(self.steps()):
            self.store.delete(f"{self.prefix}/checkpoint-{step}")
