"""The part of a run spec that says how a training survives what happens to it."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from workloads.spec_model import Spec


class Recovery(Spec):
    """How a training survives interruptions, hangs and a loss that explodes. None of it changes what is learnt
    while all goes well.

    How often it saves and how many of the newest checkpoints it keeps are the training config's `save_steps` and
    `save_total_limit`.
    """

    keep_every: Annotated[int, Field(ge=1)] | None = None
    """Checkpoints at multiples of this many steps stay for good; a multiple of `save_steps`."""
    rollbacks: Annotated[int, Field(ge=0, le=20)] = 3
    """How often a loss that is not finite, or explodes, is answered by going back to a checkpoint and leaving out the
    batches since; the next time the run fails."""
    stall_factor: Annotated[float, Field(ge=5, le=10000)] = 50
    """After so many times the median time of a step without progress, the process writes its stacks and restarts."""
    stall_seconds: Annotated[float, Field(ge=0.1, le=86400)] = 300
    """But not before this time."""
