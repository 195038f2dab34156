"""The steps of a run on an environment: which stage needs which image, identity and machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Image = Literal["stager", "trainer", "server"]
Device = Literal["cpu", "gpu"]
Base = Literal["none", "tokenizer", "weights"]


@dataclass(frozen=True, slots=True)
class Step:
    """One stage as a pod.

    Attributes:
        image: which of the platform's images has what the stage imports; the stager has no torch.
        needs: the folders of the run directory that the stage reads, beside run.json and the markers.
        base: the most that it needs of the base model: nothing, the tokenizer and config, or all of it.
        gives: the folders that it leaves for later stages; each has a manifest.
        writes: the single files that it leaves, also when it fails.
        scratch_gb: scratch space, beside models and data sets.
        models: how many copies of the whole model its scratch space holds.
        datasets: how many of the data sets that the fetch stage brings.
    """

    stage: str
    image: Image
    device: Device
    needs: tuple[str, ...] = ()
    base: Base = "none"
    gives: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    scratch_gb: int = 10
    models: int = 0
    datasets: int = 0


_SETTINGS, _DATA, _MEDIA = "inputs/settings", "inputs/data", "inputs/media"

STEPS: dict[str, Step] = {
    step.stage: step
    for step in (
        Step("fetch", "stager", "cpu", gives=("fetched",), models=1, datasets=2),
        Step(
            "prepare",
            "trainer",
            "cpu",
            needs=(_SETTINGS, _DATA, _MEDIA, "fetched"),
            base="tokenizer",
            gives=("data",),
            datasets=4,  # as fetched, as the library caches it, as rows, as tokens
        ),
        Step(
            "train",
            "trainer",
            "gpu",
            needs=(_SETTINGS, _MEDIA, "data"),
            base="weights",
            gives=("trained",),
            scratch_gb=100,
            models=2,
            datasets=1,
        ),
        Step(
            "evaluate",
            "trainer",
            "gpu",
            needs=(_SETTINGS, "data", "trained"),
            base="weights",
            writes=("evaluation.json",),
            models=2,
            datasets=1,
        ),
        Step(
            "export", "trainer", "cpu", needs=("trained",), base="weights", gives=("export",), scratch_gb=50, models=2
        ),
        Step("publish", "stager", "cpu", needs=("export",), scratch_gb=50, models=1),
        Step("serve", "trainer", "cpu", base="weights", scratch_gb=50, models=2),
    )
}
"""Stage -> step, in the order in which they run."""


def base_needed(step: Step, *, adapter: bool, merged: bool) -> Base:
    """What a stage needs of the base model in one run.

    Args:
        adapter: whether the training's result is an adapter.
        merged: whether the export merges it into the base model.
    """
    without = {"export": not (adapter and merged), "serve": merged or not adapter}
    return "none" if without.get(step.stage, False) else step.base
