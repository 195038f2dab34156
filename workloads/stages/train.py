"""train: LLaMA-Factory's trainer, resumed where it was interrupted."""

from __future__ import annotations

from typing import Any

from workloads.stages.context import RunContext
from workloads.stages.runner import main
from workloads.storage import manifest
from workloads.training.worker import train


def run(context: RunContext) -> dict[str, Any]:
    """Trains to the last step; the weights lie in ``trained/``."""
    return train(context.config, context.paths, context.base_model, context.events, context.stop)


def intact(context: RunContext) -> bool:
    """Whether the trained weights are still whole."""
    return not manifest.damage(context.paths.trained, full=False)


if __name__ == "__main__":
    main("train")
