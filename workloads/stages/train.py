"""train: LLaMA-Factory's trainer, resumed where it was interrupted."""

from __future__ import annotations

import os
from typing import Any

from workloads.stages.context import RunContext
from workloads.stages.runner import main
from workloads.storage import manifest
from workloads.training import launch
from workloads.training.worker import train
from workloads.training.world import World, shared

_RANK = "workloads.stages.rank"


def run(context: RunContext, entry: str = _RANK) -> dict[str, Any]:
    """Trains to the last step; the weights, of a sweep those of its best trial, lie in ``trained/``.

    Args:
        entry: the module that each of several processes runs.
    """
    world, resources = World.from_environment(os.environ), context.spec.resources
    if context.spec.sweep is not None:
        from workloads.stages import sweep

        return sweep.run(context, context.spec.sweep, world)
    config = shared(context.config, resources.count * resources.nodes, world.size)
    place = (context.paths, context.base_model)
    if world.size > 1:
        return launch.train(
            config,
            *place,
            context.stop,
            world,
            entry=entry,
            on_checkpoint=context.on_checkpoint,
            recovery=context.spec.recovery,
        )
    return train(
        config,
        *place,
        context.events,
        context.stop,
        on_checkpoint=context.on_checkpoint,
        recovery=context.spec.recovery,
        last_words=context.last_words,
    )


def intact(context: RunContext) -> bool:
    """Whether the trained weights are still whole; of several nodes the first alone has them."""
    if World.from_environment(os.environ).node_rank > 0:
        return True
    return not manifest.damage(context.paths.trained, full=False)


if __name__ == "__main__":
    main("train")
