"""What this machine remembers of a run on an environment, so that later verbs need only the run's name."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from pathlib import Path

from workloads import platform
from workloads.errors import InputError, did_you_mean
from workloads.platform import Platform
from workloads.runtime import runs_dir
from workloads.storage.atomic import read_json, write_json

_FILE = "remote.json"
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class RemoteRun:
    """A run on an environment.

    Attributes:
        store: where its run directory is, without its id.
        context: the kubeconfig's context that was named when it was sent; None for the current one.
    """

    id: str
    environment: str
    team: str
    namespace: str
    store: str
    context: str | None = None

    def remember(self, runs: Path | None = None) -> None:
        """Writes runs/ID/remote.json."""
        write_json((runs or runs_dir()) / self.id / _FILE, asdict(self), durable=False)

    @property
    def platform(self) -> Platform:
        """The contract of its environment."""
        return platform.load(self.environment)


def remembered(runs: Path | None = None) -> dict[str, RemoteRun]:
    """Id -> run, of all that this machine remembers."""
    folder = runs or runs_dir()
    found = (_read(path) for path in sorted(folder.glob(f"*/{_FILE}")))
    return {run.id: run for run in found if run is not None}


def find(text: str, environment: str | None = None, team: str | None = None, context: str | None = None) -> RemoteRun:
    """The run that a person means.

    Args:
        text: an id; where this machine remembers the run, the beginning of just one is enough.
        environment: where it runs, when this machine did not send it; its team is then asked for if there are many.

    Raises:
        InputError: it is no run's name, is not remembered and no environment is named, or its team is unclear.
    """
    if not _NAME.fullmatch(text):
        raise InputError.of(f"{text!r} is no name of a run.", "copy it from `tunery list --on ENV`")
    known = remembered()
    matching = [run for name, run in known.items() if name.startswith(text) and environment in (None, run.environment)]
    exact = next((run for run in matching if run.id == text), None)
    if exact is not None or len(matching) == 1:
        run = exact or matching[0]
        return run if context is None else RemoteRun(**{**asdict(run), "context": context})
    if len(matching) > 1:
        raise InputError.of(f"{text!r} may mean {', '.join(run.id for run in matching)}.", "write more of its name")
    if environment is None:
        raise InputError.of(
            f"This machine remembers no run {text!r} on an environment.",
            "name the environment with --on ENV; `tunery list --on ENV` shows its runs",
            suggestion=did_you_mean(text, known),
        )
    found = platform.load(environment)
    name = choose_team(found, team)
    return RemoteRun(text, environment, name, found.teams[name].namespace, found.store(name), context)


def choose_team(found: Platform, team: str | None) -> str:
    """The team that is named, or the only one.

    Raises:
        InputError: there is no such team, or none is named and there are several.
    """
    if team is None and len(found.teams) == 1:
        return next(iter(found.teams))
    if team in found.teams:
        return str(team)
    raise InputError.of(
        f"{found.environment} has no team {team!r}." if team else f"{found.environment} has several teams.",
        f"name one of {', '.join(found.teams)} (team in the run spec, or --team)",
        key="team",
        suggestion=did_you_mean(team, found.teams) if team else None,
    )


def _read(path: Path) -> RemoteRun | None:
    value = read_json(path)
    try:
        return RemoteRun(**value)
    except TypeError:
        return None  # of another version of tunery, or damaged: --on ENV still finds the run
