"""``python -m workloads.stages.pod STAGE RUN_ID``: one stage of a run in a pod of an environment.

What the stage reads comes from the store to this pod's disk, the stage works there as it does on one machine, and
what it gives goes back, its marker last. A second pod for the same stage finds it done, or goes on from the newest
checkpoint. The exit code says what Kubernetes has to do (workloads.errors.ExitCode).
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import Any, NoReturn

from workloads.doctor import before_stage
from workloads.errors import ExitCode, InputError, Preempted, TuneryError, did_you_mean
from workloads.hub.tokens import TokenSource
from workloads.render.steps import STEPS, Step
from workloads.runtime import ENV_HF_ENDPOINT, OFFLINE
from workloads.stages import fetch, remote_data
from workloads.stages.context import RunContext
from workloads.stages.failures import explain
from workloads.stages.patience import ONCE, Patience
from workloads.stages.runner import Stage, leave, run_stage, stage_module, told
from workloads.stages.stored_run import StoredRun
from workloads.storage.lease import FencedError
from workloads.training.signals import StopRequest
from workloads.training.world import World

_FOLDERS = ("HOME", "TMPDIR", "HF_HOME", "MPLCONFIGDIR")
"""Variables that name folders of the scratch space, which is empty when the pod starts."""
_NEWS_SECONDS = 15.0
"""How old what a watcher sees may be, and how much of it a node takes along when it vanishes."""
_RUN_ID = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_ASKS_THE_HUB = ("fetch", "publish", "serve")


@dataclass(frozen=True, slots=True)
class BaseInStore:
    """The fetch stage of an environment: the base model goes into the models store, unless it is there.

    Data sets go into the run's folder and not beside the models, which all teams can read.
    """

    stored: StoredRun

    def run(self, context: RunContext) -> dict[str, Any]:
        """``folder`` in the outputs is its place in the store."""
        revision = context.record.base.revision
        if not self.stored.has_base(revision):
            self.stored.keep_base(Path(fetch.base_model(context)["folder"]), revision)
        place = f"{self.stored.models.url}/{revision}"
        brought = remote_data.place(context, remote_data.bring(context))
        outputs = fetch.outputs(place, revision, self.stored.base_manifest(revision))
        return outputs | ({"datasets": brought} if brought else {})

    def intact(self, context: RunContext) -> bool:
        """Whether the models store still has all of it."""
        return self.stored.has_base(context.record.base.revision)


@dataclass(frozen=True, slots=True)
class InPod:
    """A stage between what it needs, which is brought first, and what it gives, which is left in the store."""

    stored: StoredRun
    step: Step
    stage: Stage
    patience: Patience
    leads: bool
    """Whether this pod is the one of its gang that leaves things in the store."""

    def run(self, context: RunContext) -> dict[str, Any]:
        """What the stage returns.

        Raises:
            Preempted: of a training what was committed is in the store, if the grace was long enough.
            FencedError: another pod has taken over.
        """
        self.patience(lambda: self.stored.bring(self.step, context))
        attempts = self.patience if self.step.stage in _ASKS_THE_HUB else ONCE
        try:
            outputs = attempts(lambda: self.stage.run(context))
        except Preempted:
            self.stored.check_if_possible()  # a stop because another pod has taken over is not one to come back from
            if self.leads and self.step.stage == "train":
                self.stored.checkpoints(context).send_newest(context.paths.checkpoints)
            raise
        except TuneryError:
            if self.leads:
                self.stored.send_files(self.step)
            raise
        if self.leads:
            context.stop.deferred = True  # what is finished is worth the rest of the grace
            self.patience(lambda: self.stored.send(self.step, context))
        return outputs

    def intact(self, context: RunContext) -> bool:
        """Whether the store has what the stage gave, and the hub too."""
        return self.stored.has(self.step) and (self.step.stage not in _ASKS_THE_HUB or self.stage.intact(context))


class News:
    """Sends events and progress to the store every few seconds while a stage works, and once more at the end.

    So it also hears that another pod has taken over, and asks the stage to stop.
    """

    def __init__(self, send: Callable[[], None], stop: StopRequest, seconds: float = _NEWS_SECONDS) -> None:
        self._send = send
        self._stop = stop
        self._seconds = seconds
        self._fenced = False
        self._ended = Event()
        self._thread = Thread(target=self._run, name="news", daemon=True)

    def __enter__(self) -> News:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        if not self._fenced:
            self._try()

    def _run(self) -> None:
        while not self._ended.wait(self._seconds):
            self._try()

    def _try(self) -> None:
        try:
            self._send()
        except FencedError as error:
            self._fenced = True
            self._ended.set()
            self._stop.request()
            told(error)
        except TuneryError as error:  # the next time may work, and no stage fails because nobody can watch it
            told(error)


def run_pod(
    stage: str, run_id: str, environ: Mapping[str, str], stop: StopRequest, patience: Patience | None = None
) -> None:
    """Runs one stage of a stored run.

    Raises:
        TuneryError: as the stage or the store explains it.
    """
    step = _step(stage, run_id)
    patience = patience or Patience()
    stored = StoredRun.of(run_id, environ)
    context = patience(lambda: stored.open(stop))
    module = BaseInStore(stored) if stage == "fetch" else stage_module(stage)
    leads = World.from_environment(environ).node_rank == 0
    if leads:
        stored = patience(lambda: stored.hold(stage))
        context = stored.bind(context)
    in_pod = InPod(stored, step, module, patience, leads)
    with News(stored.send_news, stop) if leads else nullcontext():
        if patience(lambda: in_pod.intact(context)):
            context.events.append("stage_skipped", stage=stage)
            return
        context.paths.marker(stage).unlink(missing_ok=True)
        run_stage(context, stage, in_pod)
        if leads:
            patience(lambda: stored.send_marker(step, context))
        stop.deferred = False


def _step(stage: str, run_id: str) -> Step:
    if stage not in STEPS:
        raise InputError.of(
            f"{stage!r} is no stage.",
            f"give a stage ({', '.join(STEPS)}) and a run id",
            suggestion=did_you_mean(stage, STEPS),
        )
    if not _RUN_ID.fullmatch(run_id):
        raise InputError.of(f"{run_id!r} is no run id.", "copy it from `tunery list`")
    return STEPS[stage]


def command(arguments: Sequence[str], environ: Mapping[str, str], stop: StopRequest) -> int:
    """Runs a stage as a pod does; returns the exit code."""
    stage, run_id = arguments if len(arguments) == 2 else ("", "")
    try:
        for name in _FOLDERS:
            if folder := environ.get(name):
                Path(folder).mkdir(parents=True, exist_ok=True)
        before_stage(environ)
        run_pod(stage, run_id, environ, stop)
    except TuneryError as error:
        return told(error)
    except Exception as error:  # the disk, mostly; the exit code must say what it is
        failure = explain(error, stage)
        failure.__cause__ = error
        return told(failure)
    return int(ExitCode.OK)


def huggingface_token(environ: Mapping[str, str]) -> dict[str, str]:
    """``HF_TOKEN`` from the mounted secret, for a pod whose ``HF_ENDPOINT`` is Artifactory; no manifest holds it."""
    if not environ.get(ENV_HF_ENDPOINT):
        return {}
    token = TokenSource(environ).read()
    return {} if token is None else {"HF_TOKEN": token.value}


def main() -> NoReturn:
    """What Kubernetes starts."""
    stop = StopRequest()
    stop.install()
    for name, value in {**OFFLINE, **huggingface_token(os.environ)}.items():
        os.environ.setdefault(name, value)
    leave(command(sys.argv[1:], os.environ, stop))


if __name__ == "__main__":
    main()
