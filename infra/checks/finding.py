"""What a check finds, and the two checks that several subjects share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from infra.errors import did_you_mean
from infra.machines import MACHINES
from infra.settings_yaml import Location


class Finding(NamedTuple):
    """Something wrong at a key."""

    key: Location
    message: str
    fix: str


def known_machine(key: Location, name: str, *, gpus: bool = True) -> Iterator[Finding]:
    """A machine type that nobody knows, or one with GPUs where they would be idle (``gpus=False``)."""
    machine = MACHINES.get(name)
    if machine is None:
        fix = f"{did_you_mean(name, MACHINES)}the machines are in infra/machines.py"
        yield Finding(key, f"{name!r} is not a machine type that tunery knows.", fix)
    elif machine.gpus and not gpus:
        yield Finding(key, f"{name} has a GPU, which is not used here.", "choose a machine such as e2-standard-8")


def repeated(key: Location, values: Sequence[str]) -> Iterator[Finding]:
    """Every value that stands in a list a second time."""
    for number, value in enumerate(values):
        if value in values[:number]:
            yield Finding((*key, number), f"{value!r} is there already.", "remove one of the two")
