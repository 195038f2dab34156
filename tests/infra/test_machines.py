from __future__ import annotations

import re

import pytest

from infra.machines import L4_ZONES, MACHINES, l4_zones


def test_the_machines_of_the_issue() -> None:
    small, large = MACHINES["g2-standard-8"], MACHINES["g2-standard-24"]
    assert (small.gpus, large.gpus) == (1, 2)
    assert small.accelerator == large.accelerator == "nvidia-l4"


@pytest.mark.parametrize("name", MACHINES)
def test_a_machine_s_name_says_its_cpus_and_family(name: str) -> None:
    machine = MACHINES[name]
    family, kind, cpus = name.split("-")
    assert machine.cpus == int(cpus)
    assert machine.memory_gb == machine.cpus * (8 if kind == "highmem" else 4)
    assert (family == "g2") == (machine.accelerator == "nvidia-l4") == (machine.gpus > 0)
    # A GPU stage works on local SSD, and G2 takes exactly one disk of 375 GB for each GPU.
    assert machine.local_ssds == machine.gpus


def test_zones() -> None:
    for region in L4_ZONES:
        zones = l4_zones(region)
        assert zones
        assert list(zones) == sorted(set(zones))
        assert all(re.fullmatch(rf"{region}-[a-f]", zone) for zone in zones)
    assert l4_zones("europe-west4") == ("europe-west4-a", "europe-west4-b", "europe-west4-c")
    assert l4_zones("europe-north1") == ()
