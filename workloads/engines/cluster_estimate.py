"""What can be said of a run before anything is asked of a cluster: does it fit its GPUs, and may it cost that much."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workloads.errors import InputError, Problem
from workloads.render.run import ClusterRun
from workloads.run_record import BaseModel

if TYPE_CHECKING:
    from workloads.training_config.accelerators import Accelerator

_GB = 1e9
_MODEL_CONFIG = "config.json"


def base_gb(base: BaseModel) -> float:
    """The size of the base model's files, in GB.

    Raises:
        InputError: the hub does not have it any more.
    """
    if base.folder is not None:
        return sum(path.stat().st_size for path in Path(base.folder).rglob("*") if path.is_file()) / _GB
    from workloads.hub import open_hub
    from workloads.hub.interface import ModelReference

    return open_hub().resolve(ModelReference.parse(str(base.reference))).size / _GB


def problems(run: ClusterRun, config: Mapping[str, Any], shape: Mapping[str, Any] | None) -> list[Problem]:
    """Everything that stops the run, from what it is and the environment's contract.

    Args:
        config: the training config.
        shape: the base model's config.json; without it nothing is said of memory.
    """
    return [*_quota(run), *_memory(run, config, shape), *over_budget(run)]


def _quota(run: ClusterRun) -> Iterator[Problem]:
    asked = run.gpus * run.nodes
    own, borrow = run.team.gpus, run.team.borrow
    most = run.pool.max * len(run.pool.capacity) * run.pool.gpus
    if borrow is not None:
        most = min(most, own + borrow)
    if asked > most:
        yield Problem(
            f"The run asks for {asked} GPUs of pool {run.pool_name}; team {run.team_name} can hold at most {most}.",
            "ask for fewer with resources.nodes and resources.count, or name another pool; operations own the limits",
            file=f"environment {run.platform.environment}",
            key="resources",
            code="preflight-quota",
        )


@dataclass(frozen=True, slots=True)
class Memory:
    """What each GPU of a training needs, in bytes, and the kind of GPU that it gets."""

    needs: int
    accelerator: Accelerator


def memory(run: ClusterRun, config: Mapping[str, Any], shape: Mapping[str, Any] | None) -> Memory | None:
    """The estimate; None when the pool has no GPUs that are known, or the base model is not.

    Raises:
        InputError: the training config, or the shape of the model, does not allow one.
    """
    from workloads.training_config.accelerators import ACCELERATORS
    from workloads.training_config.memory_estimate import estimate

    name = (run.pool.accelerator or "").removeprefix("nvidia-")
    accelerator = next((each for each in ACCELERATORS if each.name == name), None)
    if accelerator is None or shape is None or not run.gpus:
        return None
    return Memory(estimate(config, shape, devices=run.gpus * run.nodes).total, accelerator)


def _memory(run: ClusterRun, config: Mapping[str, Any], shape: Mapping[str, Any] | None) -> Iterator[Problem]:
    from workloads.training_config.memory_options import changes

    try:
        found = memory(run, config, shape)
        if found is None or shape is None or found.needs <= found.accelerator.bytes:
            return
        helpful = [change.overrides for change in changes(config, shape)[:3]]
    except InputError as error:
        yield from error.problems
        return
    yield Problem(
        f"The training needs about {found.needs / _GB:.1f} GB on each GPU, and a {found.accelerator.title} of pool "
        f"{run.pool_name} has {found.accelerator.bytes / _GB:.1f} GB.",
        f"use a pool with larger GPUs, or one of: {'; '.join(helpful) or 'a smaller base model'} "
        "(`tunery estimate` shows all)",
        key="resources",
        code="preflight-memory",
    )


def over_budget(run: ClusterRun, spent: float = 0.0) -> list[Problem]:
    """What the team's budget says against the run at its longest; ``spent`` is this month's, in the list's currency."""
    if run.team.budget is None:
        return []
    from workloads import prices
    from workloads.accounting import budget
    from workloads.accounting.forecast import forecast
    from workloads.accounting.rates import rates

    listed = prices.load()
    found = forecast(rates(run.spec, run.platform, listed), run.spec.resources.max_hours)
    if found is None:  # a machine that the list has no price for
        return []
    return budget.check(run.platform, run.team_name, spent, found.high, listed.currency)


def model_config(base: BaseModel) -> Mapping[str, Any] | None:
    """The base model's config.json, where it can be read without fetching the model."""
    try:
        content = Path(base.folder, _MODEL_CONFIG).read_bytes() if base.folder is not None else _in_hub(base)
        value = None if content is None else json.loads(content)
    except (OSError, ValueError):
        return None  # the stages verify the model and say what is wrong with it
    return value if isinstance(value, dict) else None


def _in_hub(base: BaseModel) -> bytes | None:
    from workloads.hub import open_hub
    from workloads.hub.interface import ModelReference

    hub = open_hub()
    return hub.read(hub.resolve(ModelReference.parse(str(base.reference))), _MODEL_CONFIG)
