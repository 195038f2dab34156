"""The steps of a run on an environment: which stage needs which image, identity and machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Image = Literal["stager", "trainer", "server"]
Device = Literal["cpu", "gpu"]


@dataclass(frozen=True, slots=True)
class Step:
    """One stage as a pod.

    Attributes:
        image: which of the platform's images has what the stage imports; the stager has no torch.
        needs: the folders and files of the run directory that the stage reads, beside what every stage reads.
        base: what it needs of the base model: nothing, the tokenizer and config, or all of it.
        gives: the folders and files that it leaves for later stages.
        temporary_gb: scratch space, beside the base model.
    """

    stage: str
    image: Image
    device: Device
    needs: tuple[str, ...] = ()
    base: Literal["none", "tokenizer", "weights"] = "none"
    gives: tuple[str, ...] = ()
    scratch_gb: int = 10


STEPS: dict[str, Step] = {
    step.stage: step
    for step in (
        Step("fetch", "stager", "cpu", base="none"),
        Step("prepare", "trainer", "cpu", needs=("inputs",), base="tokenizer", gives=("data",)),
        Step("train", "trainer", "gpu", needs=("data",), base="weights", gives=("trained",), scratch_gb=100),
        Step(
            "evaluate",
            "trainer",
            "gpu",
            needs=("inputs", "data", "trained"),
            base="weights",
            gives=("evaluation.json",),
        ),
        Step("export", "trainer", "cpu", needs=("trained",), base="weights", gives=("export",), scratch_gb=50),
        Step("publish", "stager", "cpu", needs=("export",), scratch_gb=50),
        Step("serve", "trainer", "cpu", scratch_gb=50),
    )
}
"""Stage -> step, in the order in which they run."""
