"""``preset: fast``: the settings with which a training takes the least time and learns the same.

What is learnt is not touched: the samples of an optimizer step, their order, the schedule, the loss of each token and
what it sees stay as the training config says. Only how a step is computed is chosen, and every choice says why.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from workloads.training_config.level_memory import memory_at
from workloads.training_config.levels import Level, Refusal, highest, refusals
from workloads.training_config.model_shape import ModelShape
from workloads.training_config.training_plan import whole_number

Mode = Literal["auto", "fast", "none"]
_BATCH, _ACCUMULATION = "per_device_train_batch_size", "gradient_accumulation_steps"
_RECOMPUTE_OFF = "disable_gradient_checkpointing"
_ENOUGH_TOKENS = 7000
"""A step of so many tokens keeps an H100 busy: of 4k, 8k and 16k tokens the second is 4 to 12 % faster than the first,
and the third 2 % faster than the second."""
_MOST_OF_MEMORY = 0.9
"""An estimate may be 5 % too low, and the driver keeps some."""
_SHARES = {Level.PLAIN: 0.217, Level.FLAT: 0.281, Level.LORA: 0.363, Level.LAYER: 0.461}
"""Of a card's nominal bf16 arithmetic, what a step of each level used on an H100 (Qwen3-4B, LoRA, 8k tokens)."""


@dataclass(frozen=True, slots=True)
class Device:
    """What a training runs on.

    Attributes:
        bytes: its memory; None where that is the machine's, as on a CPU.
        cuda: whether it is a GPU of NVIDIA's.
        bf16: whether it computes in bfloat16.
        tflops: its nominal dense bf16 arithmetic; None when that is not known.
        liger: whether the package liger-kernel is there.
    """

    title: str
    bytes: int | None = None
    cuda: bool = True
    bf16: bool = True
    tflops: float | None = None
    liger: bool = False


@dataclass(frozen=True, slots=True)
class Lengths:
    """The rows of the tokenized training data.

    Attributes:
        mean: tokens of a row that are text.
        longest: of the longest row.
        exact: whether every row was looked at.
    """

    rows: int
    mean: float
    longest: int
    exact: bool = True


@dataclass(frozen=True, slots=True)
class Line:
    """One choice and its reason."""

    setting: str
    value: Any
    because: str

    def __str__(self) -> str:
        value = str(self.value).lower() if isinstance(self.value, bool) else self.value
        return f"{self.setting}: {value}, because {self.because}"


@dataclass(frozen=True, slots=True)
class Choice:
    """What a preset chose.

    Attributes:
        level: the highest that config and model allow.
        changes: keys of the training config and their new values.
        memory: predicted bytes of one accelerator; None where there is no limit to keep to.
        tokens_per_second: predicted for one accelerator; None where nothing is known of its speed.
        plain_tokens_per_second: the same for LLaMA-Factory as it is.
    """

    level: Level
    changes: Mapping[str, Any] = field(default_factory=dict)
    lines: tuple[Line, ...] = ()
    refused: tuple[Refusal, ...] = ()
    memory: int | None = None
    tokens_per_second: float | None = None
    plain_tokens_per_second: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """For ``--json`` and for the events of a run."""
        return {
            "level": self.level.name.lower(),
            "changes": dict(self.changes),
            "because": [str(line) for line in self.lines],
            "refused": [{"level": each.level.name.lower(), "reason": each.reason} for each in self.refused],
            "memory": self.memory,
            "tokens_per_second": self.tokens_per_second,
            "plain_tokens_per_second": self.plain_tokens_per_second,
        }


def choose(
    training: Mapping[str, Any],
    model_config: Mapping[str, Any],
    device: Device,
    *,
    mode: Mode = "auto",
    lengths: Lengths | None = None,
    processes: int = 1,
) -> Choice:
    """Chooses for one training.

    Args:
        training: the training config after overrides.
        model_config: the base model's parsed config.json.
        mode: ``auto`` leaves alone what no measurement stands behind; ``fast`` takes what goes; ``none`` nothing.
        lengths: of the tokenized data; rows are taken to be ``cutoff_len`` long when absent.
        processes: of the training, each with one device.

    Raises:
        InputError: the model's config.json, or a number of the training config, is unusable.
    """
    if mode == "none":
        return Choice(Level.PLAIN, lines=(Line("level", "plain", "preset: none"),))
    if mode == "auto" and (reason := unproven(training, device)):
        return Choice(Level.PLAIN, lines=(Line("level", "plain", f"{reason}; preset: fast tries it nevertheless"),))
    refused = refusals(training, model_config)
    level = highest(refused)
    if level == Level.PLAIN:
        return Choice(level, lines=(Line("level", "plain", refused[0].reason),), refused=refused)
    picking = _Picking(training, model_config, device, level, lengths, processes)
    picking.pick()
    memory, batch = picking.memory, picking.batch
    rate = None if device.tflops is None else _rate(picking.config, model_config, level, device.tflops)
    plain = None if device.tflops is None else _rate(training, model_config, Level.PLAIN, device.tflops)
    picking.say("effective batch", batch * picking.accumulation * processes, "it is not touched: the same is learnt")
    return Choice(level, picking.changes, tuple(picking.lines), refused, memory, rate, plain)


def unproven(training: Mapping[str, Any], device: Device) -> str | None:
    """Why no measurement stands behind a faster step of this training; None when one does."""
    if not device.cuda:
        return f"{device.title} is no GPU, where the faster step is slower or no faster"
    if not device.bf16 or not (training.get("bf16") or training.get("pure_bf16")):
        return "the arithmetic is not bf16, for which alone it is measured"
    if training.get("stage", "sft") != "sft" or training.get("finetuning_type", "lora") != "lora":
        return "it is measured for LoRA in supervised fine-tuning only"
    if not (training.get("packing") or training.get("neat_packing")):
        return "it is measured for packed rows only (neat_packing: true)"
    return None


class _Picking:
    """The choices of one training, one after the other."""

    def __init__(
        self,
        training: Mapping[str, Any],
        model_config: Mapping[str, Any],
        device: Device,
        level: Level,
        lengths: Lengths | None,
        processes: int,
    ) -> None:
        self._training, self._model, self._device, self._level = training, model_config, device, level
        self._lengths, self._processes = lengths, processes
        self._cutoff = whole_number(training, "cutoff_len", 2048)
        self.batch = whole_number(training, _BATCH, 8)
        self.accumulation = whole_number(training, _ACCUMULATION, 1)
        self.changes: dict[str, Any] = {}
        self.lines: list[Line] = []
        self.memory: int | None = None

    @property
    def config(self) -> dict[str, Any]:
        """The training config with what is chosen so far."""
        return {**self._training, **self.changes}

    def pick(self) -> None:
        """Makes all choices."""
        name = self._level.name.lower()
        reasons = {
            Level.FLAT: "rows without padding need no mask, and the head works on learnt tokens only",
            Level.LORA: "a LoRA linear that keeps its input once needs less memory and fewer kernels",
            Level.LAYER: f"{self._model.get('model_type')} is a family whose layer is one node with its own kernels",
        }
        self.say("level", name, reasons[self._level])
        if self._training.get("flash_attn") not in (None, "auto", "sdpa"):
            self._set("flash_attn", "sdpa", "attention over flat rows is torch's own flash kernel")
        if self._device.liger and self._level < Level.LAYER and not self._training.get("enable_liger_kernel"):
            self._set("enable_liger_kernel", True, "its norms and gated units are one kernel each")
        if self._device.bytes is not None:
            self._pick_batch(self._device.bytes)
        if self._device.cuda and not self._training.get("streaming"):
            self._pick_loading()

    def say(self, setting: str, value: Any, because: str) -> None:
        """Adds a line."""
        self.lines.append(Line(setting, value, because))

    def _set(self, key: str, value: Any, because: str) -> None:
        self.changes[key] = value
        self.say(key, value, because)

    def _pick_batch(self, memory: int) -> None:
        room = int(memory * _MOST_OF_MEMORY)
        samples = self.batch * self.accumulation
        fixed = self._why_batch_stays(samples)
        sizes = [self.batch] if fixed else [size for size in range(1, samples + 1) if samples % size == 0]
        batch, without = next(
            (
                (size, off)
                for off in (True, False)
                for size in sorted(sizes, key=self._preference)
                if self._needs(size, off) <= room
            ),
            (min(sizes), False),
        )
        self.memory = self._needs(batch, without)
        needs = f"{self.memory / 1e9:.1f} of {memory / 1e9:.1f} GB are needed"
        tokens = round(batch * self._row())
        if (batch, samples // batch) != (self.batch, self.accumulation):
            self.batch, self.accumulation = batch, samples // batch
            self._set(_BATCH, batch, f"a flat row of {tokens} tokens fills the device, and {needs}")
            self._set(_ACCUMULATION, samples // batch, f"a step has {samples} rows as before")
        else:
            self.say(_BATCH, batch, fixed or f"a flat row has {tokens} tokens, and {needs}")
        if without:
            self._set(_RECOMPUTE_OFF, True, f"nothing need be computed twice: {needs}")
        else:
            tight = "" if self.memory <= room else f"; even so {needs}, which is tight"
            why = f"activations do not fit in {room / 1e9:.1f} GB and are computed again{tight}"
            self._set(_RECOMPUTE_OFF, False, why)

    def _preference(self, size: int) -> tuple[bool, float]:
        """The smallest batch with enough tokens is best, else the largest."""
        tokens = size * self._row()
        return (False, tokens) if tokens >= _ENOUGH_TOKENS else (True, -tokens)

    def _row(self) -> float:
        return self._lengths.mean if self._lengths else self._cutoff

    def _needs(self, batch: int, without: bool) -> int:
        longest = min(self._lengths.longest, self._cutoff + 1) if self._lengths else self._cutoff
        config = {**self.config, _BATCH: batch, _ACCUMULATION: 1, _RECOMPUTE_OFF: without}
        return memory_at(self._level, config, self._model, batch * longest, self._processes)

    def _why_batch_stays(self, samples: int) -> str | None:
        """Where the end of an epoch would come out otherwise: whole batches are dropped there, or filled up."""
        rows = self._lengths.rows if self._lengths else None
        if rows is not None and self._lengths is not None and rows % (samples * self._processes) == 0:
            return None
        if self._processes > 1:
            return "several processes fill up the last batch of an epoch, which another size would change"
        if self._training.get("dataloader_drop_last"):
            return "dataloader_drop_last leaves out the last rows of an epoch, which another size would change"
        if self._training.get("streaming"):
            return "a streamed data set is taken as it comes"
        return None

    def _pick_loading(self) -> None:
        if not self._training.get("dataloader_num_workers"):
            self._set("dataloader_num_workers", 2, "rows are joined while the device computes")
        if not self._training.get("dataloader_persistent_workers"):
            self._set("dataloader_persistent_workers", True, "they need not start anew each epoch")
        if self._training.get("accelerator_config") is None and self._training.get("dataloader_pin_memory", True):
            self._set("accelerator_config", {"non_blocking": True}, "a copy to the device need not wait for it")


def _rate(training: Mapping[str, Any], model_config: Mapping[str, Any], level: Level, tflops: float) -> float:
    """Tokens a second: forward and backward pass are 2 FLOP a weight each, the gradient of weights is 2 more."""
    shape = ModelShape.parse(model_config)
    passes = 2 if training.get("finetuning_type", "lora") in ("lora", "oft") else 3
    if not training.get(_RECOMPUTE_OFF):
        passes += 1
    weights = sum(m.active * m.inputs * m.outputs for m in shape.matrices) + shape.vocabulary * shape.hidden
    return round(_SHARES[level] * tflops * 1e12 / (2 * passes * weights), 1)
