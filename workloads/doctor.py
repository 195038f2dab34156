"""Whether this machine, or this pod of an image, can do what a run asks of it: one row a check, with the reason.

Nothing heavy is imported: versions are read from what is installed, and the driver is asked by its own program. So a
pod can afford it before its stage. :func:`workloads.doctor_gpu.compute` goes further and computes on every GPU.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from workloads import doctor_gpu
from workloads.errors import ExitCode, InputError, Problem, TuneryError, UnavailableError
from workloads.runtime import (
    ENV_ARTIFACTORY,
    ENV_ARTIFACTORY_MODELS,
    ENV_ARTIFACTORY_PUBLISHED,
    ENV_CACHE,
    ENV_GPUS,
    ENV_IMAGE,
    ENV_RUNS,
    ENV_SCRATCH,
    cache_dir,
    hub_dir,
    runs_dir,
)
from workloads.storage.disk import check_space, disk_errors

LEAST_FREE = 1_000_000_000
"""Bytes that must be free where something is written; a stage checks for itself what it needs beyond that."""
LARGEST_SKEW = 60.0
"""Seconds that clocks may differ: tokens of Google and Artifactory begin to be refused beyond a minute or two."""
_RELEASED = 1_793_000_000.0
"""A moment before this code was written, in seconds since the epoch: a clock that shows less is wrong."""

REQUIRED: dict[str, tuple[str, ...]] = {
    "stager": ("cryptography", "google-cloud-storage", "httpx"),
    "trainer": ("accelerate", "bitsandbytes", "deepspeed", "liger-kernel", "llamafactory", "torch", "transformers"),
    "server": ("torch", "transformers", "vllm"),
    "board": ("gradio", "llamafactory", "torch"),
}
"""Image -> the packages that make it useful."""
_SHOWN = tuple(sorted({each for packages in REQUIRED.values() for each in packages} | {"flash-attn", "peft", "trl"}))

_CUDA = {"CUDA": "nvidia-cuda-runtime", "cuDNN": "nvidia-cudnn", "NCCL": "nvidia-nccl"}
"""The libraries that torch's wheels bring, and the packages that they are in."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One row.

    Attributes:
        what: what was looked at.
        found: what was found, for people.
        problem: None when it is all right.
        later: whether it may be all right later, which is exit code 69 and not 64.
    """

    what: str
    found: str
    problem: Problem | None = None
    later: bool = False

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        shown: dict[str, Any] = {"check": self.what, "found": self.found, "ok": self.problem is None}
        return shown if self.problem is None else shown | {"problem": self.problem.as_dict(), "later": self.later}


def failure(findings: Sequence[Finding]) -> TuneryError | None:
    """The error that the findings are: wrong for good as soon as one of them is, and None when all is well."""
    wrong = [each for each in findings if each.problem is not None and not each.problem.is_warning]
    problems = [each.problem for each in wrong if each.problem is not None]
    if not problems:
        return None
    return UnavailableError(problems) if all(each.later for each in wrong) else InputError(problems)


def examine(environ: Mapping[str, str] = os.environ, clock: Callable[[], float] = time.time) -> Iterator[Finding]:
    """All checks that take no more than a second, but for the hub's when it does not answer."""
    yield Finding("tunery", f"{_version('tunery')}, image {environ.get(ENV_IMAGE) or 'none'}")
    yield Finding("python", platform.python_version())
    yield from packages(environ)
    yield from gpus(environ)
    yield from places(environ)
    hub, skew = hub_access(environ, clock)
    yield hub
    yield clock_finding(clock(), skew)


def before_stage(environ: Mapping[str, str]) -> None:
    """What a pod looks at before its stage: packages, GPUs and disk; takes milliseconds.

    It is part of the stage's own container, since rules of a podFailurePolicy see the exit code of that one only.

    Raises:
        TuneryError: with the exit code that tells Kubernetes whether another try makes sense.
    """
    found = [*packages(environ), *gpus(environ, only_expected=True), *places(environ)]
    if error := failure(found):
        raise error


def packages(environ: Mapping[str, str]) -> Iterator[Finding]:
    """The versions that are installed, and what an image should have and has not."""
    required = REQUIRED.get(environ.get(ENV_IMAGE, ""), ())
    for name in _SHOWN:
        version = _version(name)
        if version is not None:
            yield Finding(name, version)
        elif name in required:
            message = f"The image {environ[ENV_IMAGE]} has no {name}."
            yield Finding(name, "missing", Problem(message, "build the image again from its lock"))


def gpus(environ: Mapping[str, str], *, only_expected: bool = False) -> Iterator[Finding]:
    """The driver and the GPUs; with ``only_expected``, nothing unless the pod was promised some."""
    expected = _number(environ.get(ENV_GPUS))
    if only_expected and not expected:
        return
    for name, package in _CUDA.items():
        if (version := _cuda_version(package)) is not None:
            yield Finding(name, version)
    asked = doctor_gpu.ask_driver(environ)
    if isinstance(asked, str):
        wanted = f"The pod was promised {expected} GPUs, and {asked}."
        problem = (
            Problem(wanted, "see that the node's driver is installed and its GPUs are healthy") if expected else None
        )
        yield Finding("GPUs", asked, problem, later=True)
        return
    cuda = _cuda_version(_CUDA["CUDA"])
    yield Finding("driver", asked[0].driver, doctor_gpu.driver_problem(asked[0].driver, cuda), later=True)
    for gpu in asked:
        yield Finding(f"GPU {gpu.index}", gpu.text, gpu.problem, later=True)
    if len(asked) < expected:
        message = f"The pod was promised {expected} GPUs and sees {len(asked)}."
        yield Finding("GPUs", str(len(asked)), Problem(message, "cordon the node and look at its GPUs"), later=True)


def places(environ: Mapping[str, str]) -> Iterator[Finding]:
    """Whether the folders that are written to can be, and have space."""
    scratch = environ.get(ENV_SCRATCH)
    wanted = {"scratch": (Path(scratch), ENV_SCRATCH)} if scratch else {"runs": (runs_dir(environ), ENV_RUNS)}
    for name, (folder, setting) in (wanted | {"cache": (cache_dir(environ), ENV_CACHE)}).items():
        try:
            _try_to_write(folder, setting)
            check_space(folder, LEAST_FREE, setting)
        except TuneryError as error:
            later = error.exit_code is ExitCode.UNAVAILABLE
            yield Finding(name, str(folder), error.problems[0], later=later)
        else:
            free = shutil.disk_usage(_existing(folder)).free
            yield Finding(name, f"{folder} can be written, {free / 1e9:,.0f} GB free")


def hub_access(environ: Mapping[str, str], clock: Callable[[], float]) -> tuple[Finding, float | None]:
    """Whether the hub answers, and by how many seconds this clock is ahead of its, if it says."""
    url = environ.get(ENV_ARTIFACTORY, "").rstrip("/")
    if not url:
        folder = hub_dir(environ)
        there = "is there" if folder.is_dir() else "does not exist yet"
        return Finding("hub", f"no Artifactory is named; the folder {folder} {there}"), None
    from workloads.hub.tokens import TokenSource
    from workloads.hub.transport import Transport

    repository = environ.get(ENV_ARTIFACTORY_PUBLISHED) or environ.get(ENV_ARTIFACTORY_MODELS)
    if not repository:
        message = f"{ENV_ARTIFACTORY} names Artifactory, but no variable names a repository in it."
        fix = f"set {ENV_ARTIFACTORY_MODELS} and {ENV_ARTIFACTORY_PUBLISHED}"
        return Finding("hub", url, Problem(message, fix)), None
    try:
        reply = Transport(url, TokenSource(environ), timeout=5.0, sleep=_not_at_all).call(
            "GET", f"{url}/api/storage/{repository}"
        )
    except TuneryError as error:
        later = error.exit_code is ExitCode.UNAVAILABLE
        return Finding("hub", url, error.problems[0], later=later), None
    return Finding("hub", f"{url} lets this machine read {repository}"), _skew(reply.headers.get("Date"), clock())


def clock_finding(now: float, skew: float | None) -> Finding:
    """Whether the clock can be right, and agrees with the hub's."""
    shown = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now))
    fix = "set the clock, and see that a time service keeps it"
    if now < _RELEASED:
        return Finding("clock", shown, Problem(f"The clock shows {shown}, which is long past.", fix), later=True)
    if skew is None:
        return Finding("clock", shown)
    found = f"{shown}, {abs(skew):.0f} s {'ahead of' if skew >= 0 else 'behind'} the hub"
    if abs(skew) > LARGEST_SKEW:
        return Finding("clock", found, Problem(f"The clock is wrong: {found}.", fix), later=True)
    return Finding("clock", found)


def _skew(date: str | None, now: float) -> float | None:
    try:
        return None if date is None else now - parsedate_to_datetime(date).timestamp()
    except ValueError:
        return None


def _try_to_write(folder: Path, setting: str) -> None:
    """Makes, writes and removes a file, which access bits alone do not prove: mounts and quotas have their own say."""
    with disk_errors(folder, setting):
        existing = _existing(folder)
        with tempfile.TemporaryFile(dir=existing) as file:
            file.write(b"tunery")
            file.flush()
            os.fsync(file.fileno())


def _existing(folder: Path) -> Path:
    """The folder, or the nearest above it that exists: that is where it would be made."""
    return next(each for each in (folder.absolute(), *folder.absolute().parents) if each.exists())


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _cuda_version(package: str) -> str | None:
    """The version of a CUDA library, whose package may have the major version of CUDA in its name."""
    found = (_version(f"{package}{suffix}") for suffix in ("-cu12", "", "-cu13"))
    return next((version for version in found if version is not None), None)


def _number(text: str | None) -> int:
    return int(text) if text and re.fullmatch(r"\d{1,3}", text) else 0


def _not_at_all(_: float) -> None:
    """Between attempts: a doctor is asked for an answer now."""
