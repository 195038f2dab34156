"""Who may write to a part of a store: of several that work on the same, the one that came last.

Kubernetes starts a pod anew when the node of the first is unreachable, and the first may be alive there and go on. So
whoever begins takes the next number, as an object that only one can create; whoever sees a number after its own has
been replaced and stops. A number never expires, so nothing depends on clocks or on news that arrive in time.

What is written once (checkpoints) is created and never replaced, so that a writer that has been replaced and does not
know it yet destroys nothing: see :class:`workloads.stages.stored_checkpoints.StoredCheckpoints`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from workloads.errors import InputError
from workloads.storage.objects import Store


class FencedError(InputError):
    """Another process has taken over, so this one must not write any more; it is not tried again."""


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to write, until somebody else takes it.

    Attributes:
        prefix: the folder of the lease's objects in the store.
        number: from 1; the higher one holds.
    """

    store: Store
    prefix: str
    number: int

    @classmethod
    def take(cls, store: Store, prefix: str, owner: str, clock: Callable[[], float] = time.time) -> Lease:
        """Takes over from whoever holds it.

        Args:
            owner: who takes it, for messages.
        """
        taken = datetime.fromtimestamp(clock(), UTC).isoformat(timespec="seconds")
        content = json.dumps({"owner": owner, "taken": taken}).encode()
        keys = (each.key.rpartition("/")[2].removesuffix(".json") for each in store.under(prefix))
        number = max((int(key) for key in keys if key.isdecimal()), default=0) + 1
        while not store.write(cls._key(prefix, number), content, if_absent=True):
            number += 1
        return cls(store, prefix, number)

    def check(self) -> None:
        """Asks whether this is still the holder.

        Raises:
            FencedError: somebody has taken over.
        """
        # Numbers follow one another, so one small question is enough.
        content = self.store.read(self._key(self.prefix, self.number + 1))
        if content is None:
            return
        try:
            value = json.loads(content)
            who = f"{value['owner']} has taken over this work at {value['taken']}"
        except (ValueError, KeyError, TypeError):
            who = "Another process has taken over this work"
        raise FencedError.of(
            f"{who}, so this process writes nothing more.",
            "nothing has to be done: the run goes on there; Kubernetes took this pod or its node for lost",
            file=f"{self.store.url}/{self.prefix}",
        )

    @staticmethod
    def _key(prefix: str, number: int) -> str:
        return f"{prefix}/{number:06d}.json"
