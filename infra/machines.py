"""Machine types of Compute Engine that a pool may name, and where L4 GPUs are.

Source: Google Cloud's pages "Accelerator-optimized machine family", "General-purpose machine family" and "GPU regions
and zones". A machine that is missing here is one line. A zone in the table may still be sold out, and a new zone is
one letter.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Machine:
    """What one node has. ``memory_gb`` is GiB; ``local_ssds`` counts disks of 375 GB."""

    cpus: int
    memory_gb: int
    gpus: int = 0
    accelerator: str | None = None
    local_ssds: int = 0


def _general(family: str, gb_per_cpu: int, sizes: tuple[int, ...]) -> dict[str, Machine]:
    kind = "highmem" if gb_per_cpu == 8 else "standard"
    return {f"{family}-{kind}-{cpus}": Machine(cpus, cpus * gb_per_cpu) for cpus in sizes}


MACHINES: dict[str, Machine] = {
    **_general("e2", 4, (2, 4, 8, 16, 32)),
    **_general("e2", 8, (2, 4, 8, 16)),
    **_general("n2", 4, (2, 4, 8, 16, 32, 48, 64)),
    **_general("n2", 8, (2, 4, 8, 16, 32, 48, 64)),
    **_general("n2d", 4, (2, 4, 8, 16, 32, 48, 64)),
    **_general("n2d", 8, (2, 4, 8, 16, 32, 48, 64)),
    "g2-standard-4": Machine(4, 16, 1, "nvidia-l4", 1),
    "g2-standard-8": Machine(8, 32, 1, "nvidia-l4", 1),
    "g2-standard-12": Machine(12, 48, 1, "nvidia-l4", 1),
    "g2-standard-16": Machine(16, 64, 1, "nvidia-l4", 1),
    "g2-standard-24": Machine(24, 96, 2, "nvidia-l4", 2),
    "g2-standard-32": Machine(32, 128, 1, "nvidia-l4", 1),
    "g2-standard-48": Machine(48, 192, 4, "nvidia-l4", 4),
    "g2-standard-96": Machine(96, 384, 8, "nvidia-l4", 8),
}

L4_ZONES: dict[str, str] = {
    "asia-east1": "abc",
    "asia-northeast1": "abc",
    "asia-northeast3": "ab",
    "asia-south1": "abc",
    "asia-southeast1": "abc",
    "europe-west1": "bc",
    "europe-west2": "ab",
    "europe-west3": "ab",
    "europe-west4": "abc",
    "europe-west6": "bc",
    "me-central2": "ac",
    "northamerica-northeast2": "ab",
    "us-central1": "abc",
    "us-east1": "bcd",
    "us-east4": "ac",
    "us-west1": "abc",
    "us-west4": "ac",
}
"""Region -> the last letters of its zones with L4 GPUs."""


def l4_zones(region: str) -> tuple[str, ...]:
    """The zones of a region with L4 GPUs; empty when it has none."""
    return tuple(f"{region}-{letter}" for letter in L4_ZONES.get(region, ""))
