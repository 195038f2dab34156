"""What a changed config would take: checked, estimated and costed with what a person's own ``tunery`` says of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from os.path import normpath
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workloads.ci.changes import Change
from workloads.engines import cluster_estimate
from workloads.engines.create import content_of, resolve_base
from workloads.engines.remote import choose_team
from workloads.errors import InputError, Problem, UnavailableError
from workloads.render.run import ClusterRun
from workloads.run_spec_loader import ResolvedSpec
from workloads.storage.atomic import read_json
from workloads.training_config import load_config

if TYPE_CHECKING:
    from workloads.accounting.forecast import Forecast
    from workloads.platform import Platform

MODELS = "configs/models"
"""Where a repository may keep the config.json of base models, each in a folder of the model's name."""

Shape = Mapping[str, Any] | None
"""A base model's config.json; None when it is not known."""

_OF_AN_ENVIRONMENT = "environment "
"""What the file of a problem begins with that is between a run and its environment."""


@dataclass(frozen=True, slots=True)
class Planned:
    """A changed config, and what is known of the run that it means.

    Attributes:
        run: the run on the environment; None for a training config, without an environment, or when it has none there.
        memory: what each GPU needs; None when the base model is not known here.
        cost: None when the price list has no price of the nodes.
        notes: what could not be found out, and stops nothing.
    """

    change: Change
    problems: tuple[Problem, ...]
    run: ClusterRun | None = None
    memory: cluster_estimate.Memory | None = None
    cost: Forecast | None = None
    notes: tuple[str, ...] = ()

    @property
    def refused(self) -> bool:
        """Whether anything stops it."""
        return bool(self.problems)

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``; memory in bytes."""
        run, memory = self.run, self.memory
        return {
            "file": self.change.config.place,
            "changed": list(self.change.what),
            "refused": self.refused,
            "team": run.team_name if run else None,
            "pool": run.pool_name if run else None,
            "gpus": run.gpus * run.nodes if run else None,
            "memory": {"needs": memory.needs, "has": memory.accelerator.bytes} if memory else None,
            "cost": self.cost.as_dict() if self.cost else None,
            "budget": run.team.budget if run else None,
            "problems": [problem.as_dict() for problem in self.problems],
            "notes": list(self.notes),
        }


def plan_changes(found: Sequence[Change], platform: Platform | None, *, hub: bool = True) -> list[Planned]:
    """Looks at every changed config.

    Args:
        platform: the environment that the runs are for; without it nothing is said of places and prices.
        hub: look base models up in the hub; otherwise what is known of them is what :data:`MODELS` holds.
    """
    return [_plan(change, platform, hub=hub) for change in found]


def _plan(change: Change, platform: Platform | None, *, hub: bool) -> Planned:
    resolved = change.config.resolved
    if resolved is None:
        return Planned(change, _unique(change.config.problems))
    if change.config.problems:
        return Planned(change, _unique([_located(each, resolved) for each in change.config.problems]))
    problems = tuple(problem for problem in resolved.check() if not problem.is_warning)
    planned = Planned(change, problems)
    if change.config.is_run:
        shape = _committed_shape(resolved)
        if hub:
            planned, shape = _ask_hub(planned, resolved, shape)
        if platform is not None:
            planned = _on_environment(planned, resolved, shape, platform)
    return replace(planned, problems=_unique([_located(each, resolved) for each in planned.problems]))


def _ask_hub(planned: Planned, resolved: ResolvedSpec, shape: Shape) -> tuple[Planned, Shape]:
    try:
        base = resolve_base(resolved)
        return planned, cluster_estimate.model_config(base) or shape
    except InputError as error:
        return replace(planned, problems=(*planned.problems, *error.problems)), shape
    except UnavailableError as error:
        return replace(planned, notes=(f"The base model was not looked up: {error.problems[0].message}",)), shape


def _committed_shape(resolved: ResolvedSpec) -> Shape:
    """The base model's config.json in this repository, for where the hub is out of reach."""
    base = resolved.spec.base
    name = base.model if base else resolved.training.values.get("model_name_or_path")
    path = resolved.file.resolve().parents[2] / MODELS / str(name) / "config.json"
    value = read_json(path) if ".." not in path.parts else None
    return value if isinstance(value, dict) else None


def _on_environment(planned: Planned, resolved: ResolvedSpec, shape: Shape, platform: Platform) -> Planned:
    from workloads import prices
    from workloads.accounting.forecast import forecast
    from workloads.accounting.rates import rates

    config = content_of(resolved).training_config
    try:
        # Of the id only the length matters here; the digest may depend on what is not known yet.
        id_ = f"{resolved.spec.name}-{'0' * 10}"
        run = ClusterRun(id_, resolved.spec, choose_team(platform, resolved.spec.team), platform, {})
        problems = cluster_estimate.problems(run, config, shape)
        memory = cluster_estimate.memory(run, config, shape) if not problems else None
        rate = rates(resolved.spec, platform, prices.load())
    except InputError as error:
        return replace(planned, problems=(*planned.problems, *error.problems))
    cost = forecast(rate, resolved.spec.resources.max_hours)
    return replace(planned, problems=(*planned.problems, *problems), run=run, memory=memory, cost=cost)


def _unique(problems: Sequence[Problem]) -> tuple[Problem, ...]:
    """Each problem once, its file as git names it and not by way of the spec that led there."""
    here = f"{Path.cwd()}/"
    files: dict[str | None, str] = {
        each.file: normpath(each.file).removeprefix(here) for each in problems if each.file is not None
    }
    named = (replace(each, file=files.get(each.file)) for each in problems)
    return tuple(dict.fromkeys(named))


def _located(problem: Problem, resolved: ResolvedSpec) -> Problem:
    """The problem at the line of the run spec that it is about, when it names a key and no file of its own."""
    file = str(resolved.file)
    if problem.line is not None or problem.key is None or problem.row is not None:
        return problem
    if problem.file not in (None, file) and not str(problem.file).startswith(_OF_AN_ENVIRONMENT):
        return problem
    lines = load_config(resolved.file).lines
    first = problem.key.split(".", 1)[0]
    where = "" if problem.file in (None, file) else f"On {problem.file}: "
    return replace(problem, file=file, line=lines.get(first, 1), message=f"{where}{problem.message}")
