"""What the NVIDIA driver says of the GPUs, and whether they compute; torch is imported only for the latter."""

from __future__ import annotations

import csv
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

from workloads.errors import Problem, UnavailableError

LEAST_DRIVERS = {"12": (525, 60, 13), "13": (580, 65, 6)}
"""Major version of CUDA -> the oldest driver of Linux that runs all its minor versions.

Source: the table of minor version compatibility in the CUDA Toolkit's release notes.
"""
MOSTLY_FREE = 0.9
"""The share of a GPU's memory that is free when nobody else uses it; the driver itself keeps a few hundred MiB."""
_FIELDS = (
    "index",
    "name",
    "driver_version",
    "memory.total",
    "memory.free",
    "compute_cap",
    "ecc.errors.uncorrected.volatile.total",
)
_SECONDS = 20.0
_FOLDER = "/usr/local/nvidia/bin"
"""Where GKE puts the driver's programs."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU as the driver describes it; memory in MiB."""

    index: int
    name: str
    driver: str
    total: int
    free: int
    capability: str
    uncorrected: int

    @property
    def text(self) -> str:
        """For people."""
        return f"{self.name}, compute capability {self.capability}, {self.free:,} of {self.total:,} MiB free"

    @property
    def problem(self) -> Problem | None:
        """What is wrong with it: memory that lost bits, or somebody else who uses it."""
        if self.uncorrected:
            message = f"GPU {self.index} has lost {self.uncorrected} values of its memory since the driver started."
            return Problem(message, "cordon the node: its GPU needs a reset or a repair")
        if self.free < MOSTLY_FREE * self.total:
            message = f"Of the {self.total:,} MiB of GPU {self.index} only {self.free:,} are free."
            return Problem(message, "see with nvidia-smi who uses it", code="warn-gpu-memory")
        return None


def ask_driver(environ: Mapping[str, str]) -> tuple[Gpu, ...] | str:
    """The GPUs that this process may use, at least one; or in words why there are none."""
    path = f"{environ.get('PATH', '')}:{_FOLDER}"
    program = shutil.which("nvidia-smi", path=path)
    if program is None:
        return "there is no NVIDIA driver"
    command = [program, f"--query-gpu={','.join(_FIELDS)}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_SECONDS, check=False, env={**environ, "PATH": path}
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"the driver does not answer ({type(error).__name__})"
    if done.returncode:
        said = (done.stdout + done.stderr).strip().splitlines() or ["it gave no reason"]
        return f"the driver reports: {said[0]}"
    return parse(done.stdout) or "the driver has no GPU"


def parse(text: str) -> tuple[Gpu, ...]:
    """What nvidia-smi printed; numbers that a GPU does not know are ``[N/A]``, and count as 0."""
    rows = [row for row in csv.reader(text.splitlines(), skipinitialspace=True) if len(row) == len(_FIELDS)]
    return tuple(
        Gpu(_whole(index), name, driver, _whole(total), _whole(free), capability, _whole(uncorrected))
        for index, name, driver, total, free, capability, uncorrected in rows
    )


def driver_problem(driver: str, cuda: str | None) -> Problem | None:
    """Whether a driver is too old for the CUDA libraries that are installed."""
    least = LEAST_DRIVERS.get((cuda or "").partition(".")[0])
    has = tuple(int(part) for part in re.findall(r"\d+", driver))
    if least is None or not has or has >= least:
        return None
    needed = ".".join(map(str, least))
    return Problem(f"The driver {driver} is too old for CUDA {cuda}: {needed} is needed.", "take a newer driver")


def compute() -> str:
    """Multiplies matrices on every GPU and compares them with the CPU's result, then sums over all by NCCL.

    Returns:
        In words, what was computed with which versions.

    Raises:
        UnavailableError: torch sees no GPU, or one of them computes wrongly.
    """
    import torch

    if not torch.cuda.is_available():
        raise UnavailableError.of("torch sees no GPU.", "see whether the driver is there: `nvidia-smi`")
    count = torch.cuda.device_count()
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randint(-8, 8, (256, 256), generator=generator).float() for _ in range(2))
    expected = left @ right  # whole numbers below 2^24: exact in every order of summing
    products = [(left.to(f"cuda:{n}") @ right.to(f"cuda:{n}")) for n in range(count)]
    for number, product in enumerate(products):
        if not torch.equal(product.cpu(), expected):
            raise UnavailableError.of(f"GPU {number} computes wrongly.", "cordon the node: its GPU needs a repair")
    if count > 1:
        torch.cuda.nccl.all_reduce(products)
        if not torch.equal(products[-1].cpu(), expected * count):
            raise UnavailableError.of(
                f"NCCL sums wrongly over {count} GPUs.", "see NCCL_DEBUG=INFO; cordon the node if it stays"
            )
    nccl = ".".join(map(str, torch.cuda.nccl.version()))
    return f"{count} GPUs compute right with torch {torch.__version__}, CUDA {torch.version.cuda}, NCCL {nccl}"


def _whole(text: str) -> int:
    return int(text) if text.isdigit() else 0
