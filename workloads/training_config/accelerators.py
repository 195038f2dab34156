"""The accelerators that the memory estimate knows.

``memory`` is what nvidia-smi calls ``memory.total``, in MiB, as of November 2026. The figures of the H100 and H200 were
read on such cards; the others are nominal and not yet confirmed on one. It is less than the name says: GDDR6 cards
keep a sixteenth for error correction, and the driver keeps some.
"""

from __future__ import annotations

from dataclasses import dataclass

from workloads.errors import InputError, did_you_mean


@dataclass(frozen=True, slots=True)
class Accelerator:
    """One kind of accelerator.

    Attributes:
        memory: MiB that the driver reports.
        bf16: whether it computes in bfloat16.
        machine: the Google Cloud machine type with one of it; None where Google Cloud has none.
        tflops: dense bf16 arithmetic by NVIDIA's data sheet, in 10^12 FLOP a second; None without bf16.
    """

    name: str
    title: str
    memory: int
    bf16: bool = True
    machine: str | None = None
    tflops: float | None = None

    @property
    def bytes(self) -> int:
        return self.memory << 20


ACCELERATORS = (
    Accelerator("t4", "NVIDIA T4 16 GB", 15360, bf16=False, machine="n1-standard-8"),
    Accelerator("l4", "NVIDIA L4 24 GB", 23034, machine="g2-standard-8", tflops=121),
    Accelerator("rtx3090", "NVIDIA RTX 3090 24 GB", 24576, tflops=71),
    Accelerator("rtx4090", "NVIDIA RTX 4090 24 GB", 24564, tflops=165),
    Accelerator("rtx5090", "NVIDIA RTX 5090 32 GB", 32607, tflops=209),
    Accelerator("a100-40", "NVIDIA A100 40 GB", 40960, machine="a2-highgpu-1g", tflops=312),
    Accelerator("l40s", "NVIDIA L40S 48 GB", 46068, tflops=362),
    Accelerator("a100-80", "NVIDIA A100 80 GB", 81920, machine="a2-ultragpu-1g", tflops=312),
    Accelerator("h100", "NVIDIA H100 80 GB", 81559, machine="a3-highgpu-1g", tflops=989),
    Accelerator("h200", "NVIDIA H200 141 GB", 143771, machine="a3-ultragpu-8g", tflops=989),
)
"""From small to large."""


def find_accelerator(name: str) -> Accelerator:
    """The accelerator of that name.

    Raises:
        InputError: there is none, with the nearest name.
    """
    for each in ACCELERATORS:
        if each.name == name.lower():
            return each
    names = [each.name for each in ACCELERATORS]
    raise InputError.of(
        f"{name!r} is not an accelerator that the estimate knows.",
        f"write one of {', '.join(names)}",
        key="accelerator",
        suggestion=did_you_mean(name.lower(), names),
    )


def named_by_driver(name: str, memory: int) -> Accelerator | None:
    """The accelerator that a driver calls ``name``, such as ``NVIDIA H100 80GB HBM3``, with ``memory`` bytes."""
    words = name.lower().replace("-", " ").split()
    kinds = [each for each in ACCELERATORS if _word(each.name) in words or _word(each.name) in "".join(words[-2:])]
    return min(kinds, key=lambda each: abs(each.bytes - memory), default=None)


def _word(name: str) -> str:
    return name.partition("-")[0]
