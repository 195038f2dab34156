"""The faults of a training by one process, on one machine."""

from __future__ import annotations

import errno
import math
import signal

from benchmarks.faults import damages
from benchmarks.faults.damages import Damage
from benchmarks.faults.playing import Fault, two_at_once
from benchmarks.faults.strikes import All, AtRead, AtWrite, BadLoss, ClockJump, FailingDisk, Hang, InStep

_TERM, _KILL, _INT = signal.SIGTERM, signal.SIGKILL, signal.SIGINT
_SAVE = r"checkpoint-8/"
_HALF_SAVE = r"half of .*checkpoint-8/optimizer\.pt"
_LOADS = r"base.*config\.json$|config\.json$"
_RESUMES = r"checkpoint-\d+/trainer_state\.json$"
_FINAL = r"half of (checkpoints|out)/adapter_model\.safetensors"

SIGNALS = [
    Fault("SIGTERM", "at start", "when the base model's config.json is opened", [AtRead(_LOADS, _TERM)]),
    Fault("SIGKILL", "at start", "when the base model's config.json is opened", [AtRead(_LOADS, _KILL)]),
    Fault("SIGTERM", "in a step", "step 7 has its gradients", [InStep(7, _TERM)]),
    Fault("SIGKILL", "in a step", "step 7 has its gradients", [InStep(7, _KILL)]),
    Fault("SIGINT", "in a step", "step 7 has its gradients", [InStep(7, _INT)]),
    Fault(
        "SIGTERM with no time for a save",
        "in a step",
        "step 7; a grace of 10 ms",
        [InStep(7, _TERM)],
        environ={"TUNERY_GRACE_SECONDS": "0.01"},
    ),
    Fault("SIGTERM", "in a save", "checkpoint-8's optimizer is written", [AtWrite(_HALF_SAVE, _TERM)]),
    Fault("SIGKILL", "in a save", "half of checkpoint-8's optimizer is written", [AtWrite(_HALF_SAVE, _KILL)]),
    Fault(
        "SIGTERM",
        "in a resume",
        "after SIGKILL in step 9, when the checkpoint's trainer_state.json is opened",
        [InStep(9, _KILL), AtRead(_RESUMES, _TERM)],
    ),
    Fault(
        "SIGKILL",
        "in a resume",
        "after SIGKILL in step 9, when the checkpoint's trainer_state.json is opened",
        [InStep(9, _KILL), AtRead(_RESUMES, _KILL)],
    ),
    Fault("SIGTERM", "in the last step", "step 12 has its gradients", [InStep(12, _TERM)]),
    Fault("SIGKILL", "in the final save", "half of the final weights are written", [AtWrite(_FINAL, _KILL)]),
    Fault("SIGTERM", "in the final save", "the final weights are written", [AtWrite(_FINAL, _TERM)]),
    Fault(
        "SIGKILL three times",
        "in a step, a save, a step",
        "step 3, half of checkpoint-8's optimizer, step 11",
        [InStep(3, _KILL), AtWrite(_HALF_SAVE, _KILL), InStep(11, _KILL)],
        losses=3,
    ),
    Fault(
        "SIGTERM four times",
        "in steps",
        "steps 2, 5, 8 and 11",
        [InStep(step, _TERM) for step in (2, 5, 8, 11)],
    ),
]

_BETWEEN = "between a SIGKILL in step 9 and the restart"
_AFTER_A_SAVE = InStep(9, _KILL, late=0.5)

DISKS = [
    Fault("disk full", "as a save begins", "ENOSPC from checkpoint-8's first file on", [FailingDisk(_SAVE)]),
    Fault(
        "disk full",
        "in a save",
        "ENOSPC from checkpoint-8's optimizer on",
        [FailingDisk(r"(write|open) .*checkpoint-8/optimizer")],
    ),
    Fault(
        "disk full",
        "at the end of a save",
        "ENOSPC from checkpoint-8's trainer_state.json on",
        [FailingDisk(r"open .*checkpoint-8/trainer_state")],
    ),
    Fault(
        "disk full",
        "in the final save",
        "ENOSPC from the final weights on",
        [FailingDisk(r"write (checkpoints|out)/adapter_model")],
    ),
    Fault(
        "disk fails",
        "in a save",
        "EIO from checkpoint-8's optimizer on",
        [FailingDisk(r"(write|open) .*checkpoint-8/optimizer", errno.EIO)],
    ),
]


def _damaged(what: str, how: str, damage: Damage, losses: int = 1) -> Fault:
    return Fault(what, _BETWEEN, how, [_AFTER_A_SAVE], damage=damage, losses=losses)


DAMAGES = [
    _damaged("newest checkpoint torn", "trainer_state.json is missing", Damage("trainer_state.json", damages.remove)),
    _damaged("newest checkpoint torn", "the weights are missing", Damage("adapter_model.safetensors", damages.remove)),
    _damaged("newest checkpoint torn", "the optimizer is missing", Damage("optimizer.pt", damages.remove)),
    _damaged("newest checkpoint truncated", "half of the optimizer", Damage("optimizer.pt", damages.truncate)),
    _damaged(
        "newest checkpoint truncated", "half of the weights", Damage("adapter_model.safetensors", damages.truncate)
    ),
    _damaged("newest checkpoint truncated", "an empty trainer_state.json", Damage("trainer_state.json", damages.empty)),
    _damaged(
        "newest checkpoint, a bit flipped", "in a weight", Damage("adapter_model.safetensors", damages.flip_weight)
    ),
    _damaged("newest checkpoint, a bit flipped", "in the optimizer", Damage("optimizer.pt", damages.flip)),
    _damaged("newest checkpoint, a bit flipped", "in the random numbers' state", Damage("rng_state.pth", damages.flip)),
    Fault(
        "newest checkpoint is an empty folder",
        _BETWEEN,
        "its files are removed",
        [_AFTER_A_SAVE],
        damage=damages.hollow,
    ),
    _damaged(
        "both checkpoints damaged",
        "a bit of a weight flipped in each",
        Damage("adapter_model.safetensors", damages.flip_weight, checkpoints=2),
        losses=2,
    ),
]

OTHERS = [
    Fault("the clock jumps ten days ahead", "in a step", "time.time(), step 6", [ClockJump(6, 864_000.0)]),
    Fault("the clock jumps ten days back", "in a step", "time.time(), step 6", [ClockJump(6, -864_000.0)]),
    Fault(
        "the clock jumps an hour back, then SIGKILL",
        "in steps",
        "time.time(), step 6; step 11",
        [All((ClockJump(6, -3600.0), InStep(11, _KILL)))],
    ),
    Fault("a second run in the same directory", "in the first steps", "a second process", play=two_at_once),
    Fault(
        "a loss that is no number",
        "in a step",
        "the loss of step 6, once; who goes back and leaves its batches out ends with other weights",
        [BadLoss(6)],
        bound=math.inf,
    ),
    Fault("a step never ends", "in step 7", "it sleeps for ever; tunery has stall_seconds: 5", [Hang(7)], limit=40.0),
]
