"""Sends the runs that a push changed, each once.

What was handled is remembered in the team's store, beside its runs: ``ci/.last.json`` names the commit up to which
all of a team's runs were sent, and ``RUN/.sent.json`` says that a run was. So a build that is started again sends
nothing twice, a build that failed is caught up with by the next, and a push of several commits counts all of them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workloads.ci.changes import Change, Config, changes, configs
from workloads.ci.planning import plan_changes
from workloads.ci.repository import Repository
from workloads.engines.remote import choose_team
from workloads.errors import InputError, Problem, TuneryError, UnavailableError
from workloads.storage.objects import open_store

if TYPE_CHECKING:
    from workloads.platform import Platform
    from workloads.render.run import ClusterRun
    from workloads.run_record import RunRecord
    from workloads.storage.objects import Store

LAST = "ci/.last.json"
SENT = ".sent.json"
THERE = "there"
"""The state of a run that was sent for an earlier push."""
REFUSED = "refused"

Plan = Callable[[Path], "tuple[RunRecord, ClusterRun]"]
Send = Callable[["RunRecord", "ClusterRun"], str]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one changed run spec; ``state`` is that of its sending, :data:`THERE` or :data:`REFUSED`."""

    file: str
    changed: tuple[str, ...]
    state: str
    id: str | None = None
    error: TuneryError | None = field(default=None, repr=False)

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        problems = [each.as_dict() for each in self.error.problems] if self.error else []
        found = {"file": self.file, "changed": list(self.changed), "state": self.state, "id": self.id}
        return found | {"problems": problems}


@dataclass(frozen=True, slots=True)
class Changed:
    """What the run specs of this commit are to be sent for, and the teams whose specs were looked at."""

    changes: list[Change]
    teams: tuple[str, ...]


def changed_runs(repository: Repository, platform: Platform, base: str | None, *, ask_stores: bool = True) -> Changed:
    """The run specs that changed since ``base``, or since each team's runs were last sent.

    Args:
        base: a revision; when absent, what the team's store remembers, or else the commit before HEAD.
        ask_stores: whether the stores may be asked at all.
    """
    specs = [config for config in configs(repository.root) if config.is_run]
    owners = {config.place: _team(config, platform) for config in specs}
    teams = tuple(dict.fromkeys(team for team in owners.values() if team is not None))
    start = repository.meeting_point(base) if base is not None else None
    since: dict[str | None, str | None] = {}
    for team in dict.fromkeys(owners.values()):
        last = _last(open_store(platform.store(team))) if ask_stores and start is None and team is not None else None
        caught_up = last if last is not None and repository.has(last) else None
        since[team] = start or caught_up or repository.before_head()
    found: list[Change] = []
    for commit in dict.fromkeys(since.values()):
        found += changes(repository, [each for each in specs if since[owners[each.place]] == commit], commit)
    return Changed(found, teams)


def submit(repository: Repository, platform: Platform, found: Changed, plan: Plan, send: Send) -> list[Outcome]:
    """Sends every changed run that nothing stands against; the others are refused and hold no other back."""
    outcomes: list[Outcome] = []
    head = repository.commit("HEAD")
    stopped: set[str | None] = set()
    for planned in plan_changes(found.changes, platform):
        config = planned.change.config
        try:
            if planned.refused:
                raise InputError(planned.problems)
            state, run = _send(repository.root / config.place, head, platform, plan, send)
            outcomes.append(Outcome(config.place, planned.change.what, state, run))
        except TuneryError as error:
            stopped.add(_team(config, platform))
            outcomes.append(Outcome(config.place, planned.change.what, REFUSED, error=error))
    for team in found.teams:
        if team not in stopped and None not in stopped:
            open_store(platform.store(team)).write(LAST, json.dumps({"commit": head}).encode())
    return outcomes


def failure(outcomes: Iterable[Outcome]) -> TuneryError | None:
    """One error for all that were not sent; what may be there later counts only when nothing is wrong for good."""
    errors = [each.error for each in outcomes if each.error is not None]
    if not errors:
        return None
    problems: list[Problem] = [problem for error in errors for problem in error.problems]
    kinds = (InputError, UnavailableError, TuneryError)
    return next(kind(problems) for kind in kinds if any(isinstance(error, kind) for error in errors))


def _send(spec: Path, head: str, platform: Platform, plan: Plan, send: Send) -> tuple[str, str]:
    record, run = plan(spec)
    record = replace(record, git_commit=record.git_commit or head)  # planning asks git's command line
    store, key = open_store(platform.store(run.team_name)), f"{run.id}/{SENT}"
    if store.read(key) is not None:
        return THERE, run.id
    state = send(record, run)
    store.write(key, json.dumps({"commit": head}).encode())
    return state, run.id


def _team(config: Config, platform: Platform) -> str | None:
    """Whose runs a spec is for; None when that cannot be read from it, which planning then refuses."""
    try:
        return choose_team(platform, config.resolved.spec.team) if config.resolved else None
    except InputError:
        return None


def _last(store: Store) -> str | None:
    content = store.read(LAST)
    try:
        value = json.loads(content) if content is not None else None
    except ValueError:
        return None  # the commit before HEAD is compared with instead
    commit = value.get("commit") if isinstance(value, dict) else None
    return commit if isinstance(commit, str) else None
