"""How many processes share a training, and what stays the same whatever their number.

What is learnt depends on the samples of each optimizer step: batch size x accumulation x processes. A run spec fixes
that product. Where a training runs with another number of processes, locally or after it lost a node, batch size and
accumulation are chosen so that the product stays; the trainer deals samples out in such a way that each step then has
the same ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workloads.errors import InputError, Problem
from workloads.runtime import ENV_LAST_CALL, ENV_PROCESSES, MASTER_PORT

LAST_CALL_SECONDS = 30
_BATCH, _ACCUMULATION = "per_device_train_batch_size", "gradient_accumulation_steps"
_DEFAULT_BATCH = 8  # of the trainer


@dataclass(frozen=True, slots=True)
class World:
    """The processes of a training, as torchrun counts them.

    Attributes:
        processes: on each node.
        nodes: how many there are, or where ``least_nodes`` is less at the most.
        node_rank: of the node that this process is on; node 0 has the checkpoints and the result.
        address: where node 0 is found by the others.
        port: where they meet; 0 takes a free one, which only a single node can.
        least_nodes: with so many, node 0 among them, the training begins when ``last_call`` seconds have passed;
            None: only when all nodes are there.
        last_call: seconds, as torchrun's ``last_call_timeout``.
    """

    processes: int = 1
    nodes: int = 1
    node_rank: int = 0
    address: str = "127.0.0.1"
    port: int = 0
    least_nodes: int | None = None
    last_call: int = LAST_CALL_SECONDS

    @property
    def size(self) -> int:
        """All processes on all nodes."""
        return self.processes * self.nodes

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> World:
        """What the pod's environment, or that of ``tunery run --nproc``, says.

        Raises:
            InputError: a variable is not the number that it should be.
        """
        least_nodes, nodes = node_range(environ.get("NNODES") or "1")
        several = nodes > 1
        world = cls(
            processes=_number(environ, ENV_PROCESSES, 1, minimum=1),
            nodes=nodes,
            node_rank=_number(environ, "JOB_COMPLETION_INDEX", 0, minimum=0) if several else 0,
            address=environ.get("MASTER_ADDR", "127.0.0.1") if several else "127.0.0.1",
            port=_number(environ, "MASTER_PORT", MASTER_PORT, minimum=1) if several else 0,
            least_nodes=least_nodes,
            last_call=_number(environ, ENV_LAST_CALL, LAST_CALL_SECONDS, minimum=0),
        )
        if world.node_rank >= nodes:
            raise InputError.of(
                f"Node {world.node_rank} of {nodes} does not exist: they count from 0.", "correct the node's rank"
            )
        return world

    def as_environment(self) -> dict[str, str]:
        """What :meth:`from_environment` reads."""
        nodes = str(self.nodes) if self.least_nodes is None else f"{self.least_nodes}:{self.nodes}"
        alone = {ENV_PROCESSES: str(self.processes), "NNODES": nodes, ENV_LAST_CALL: str(self.last_call)}
        if self.nodes == 1:
            return alone
        place = {"JOB_COMPLETION_INDEX": str(self.node_rank), "MASTER_ADDR": self.address}
        return alone | place | {"MASTER_PORT": str(self.port or MASTER_PORT)}


def node_range(text: str) -> tuple[int | None, int]:
    """The fewest nodes, None unless there may be fewer, and the most, of ``N`` or ``MIN:MAX`` as torchrun has it.

    Raises:
        InputError: it is neither.
    """
    least, separator, most = text.rpartition(":")
    numbers = [part for part in (least, most) if part.isascii() and part.isdigit() and int(part) > 0]
    if len(numbers) != 1 + len(separator) or (separator and int(least) > int(most)):
        raise InputError.of(
            f"{text!r} is no number of nodes.",
            "give how many, such as 2, or the fewest and the most: 1:2",
            key="NNODES",
        )
    return (int(least) if separator and least != most else None), int(most)


def _number(environ: Mapping[str, str], name: str, default: int, *, minimum: int) -> int:
    text = environ.get(name) or str(default)
    if not text.isascii() or not text.isdigit() or int(text) < minimum:
        raise InputError.of(f"{name} is {text!r}, not a whole number from {minimum}.", "correct the variable", key=name)
    return int(text)


def shared(config: dict[str, Any], declared: int, actual: int) -> dict[str, Any]:
    """The training config for ``actual`` processes, of a run that is declared for ``declared`` of them.

    Raises:
        InputError: the samples of a step cannot be dealt out evenly.
    """
    if declared == actual:
        return config
    batch, accumulation = _positive(config, _BATCH, _DEFAULT_BATCH), _positive(config, _ACCUMULATION, 1)
    samples = batch * accumulation * declared
    each, rest = divmod(samples, actual)
    if rest:
        fitting = [str(count) for count in range(1, samples + 1) if samples % count == 0]
        raise InputError.of(
            f"An optimizer step has {samples} samples, which {actual} processes cannot share evenly; with more or "
            f"fewer samples the run would learn something else.",
            f"use {', '.join(fitting[:-1])} or {fitting[-1]} processes" if fitting[1:] else "use one process",
            key=_BATCH,
        )
    largest = next(size for size in range(min(batch, each), 0, -1) if each % size == 0)
    if largest != batch and config.get("stage") == "kto":
        raise InputError.of(
            f"KTO compares the samples of a batch with one another, so a batch of {largest} instead of {batch} would "
            f"change what is learnt.",
            f"run it with {declared} processes, or fewer",
            key=_BATCH,
        )
    return config | {_BATCH: largest, _ACCUMULATION: each // largest}


def _positive(config: dict[str, Any], key: str, default: int) -> int:
    value = config.get(key)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InputError(Problem(f"{key} is {value!r}, not a positive whole number.", "correct it", key=key))
    return value


def refuse_other_world(checkpoint: Path, actual: int) -> None:
    """ZeRO-3 keeps a part of the weights in every process: such a checkpoint fits the same number of them only.

    Raises:
        InputError: the checkpoint is one of another number of processes.
    """
    parts = len(list(checkpoint.glob("global_step*/zero_pp_rank_*_model_states.pt")))
    if parts and parts != actual:
        raise InputError.of(
            f"This checkpoint was saved by {parts} processes with DeepSpeed ZeRO-3, which {actual} cannot load.",
            f"continue it with {parts} processes, or train with ZeRO-2, which may change their number",
            file=checkpoint,
            key="deepspeed",
        )
