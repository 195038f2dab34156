"""The committed results, read again: cases by name, and the estimate beside each measured peak."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.gpu import cases, plans
from benchmarks.gpu.architectures import ARCHITECTURES
from benchmarks.gpu.cases import Case

FOLDER = Path(__file__).parent / "results"
CONTEXT_BYTES = 800_000_000
"""What a process holds on an H100 beside PyTorch's memory: device memory in use less reserved, 0.79-0.82 GB in 13
cases that ran alone."""


def lines(name: str) -> list[dict[str, Any]]:
    """The lines of a file of results."""
    return [json.loads(line) for line in (FOLDER / name).read_text(encoding="utf-8").splitlines()]


@dataclass(frozen=True, slots=True)
class Peak:
    """The memory of one training, in bytes: what the device held, and the estimate."""

    name: str
    model: str
    held: int
    estimate: int

    @property
    def off(self) -> float:
        """By which share the estimate is too high."""
        return self.estimate / self.held - 1


def peaks() -> list[Peak]:
    """Every training of LLaMA-Factory as shipped whose memory was measured, from too low to too high."""
    from workloads.training_config.memory_estimate import estimate

    found = {}
    for case, block in _measured():
        training = cases.arguments(case, Path(), Path())
        total = estimate(training, ARCHITECTURES[case.model]).total
        found[case.model + _name(case)] = Peak(_name(case), case.model, block["reserved"] + CONTEXT_BYTES, total)
    return sorted(found.values(), key=lambda peak: peak.off)


def _measured() -> Iterator[tuple[Case, dict[str, Any]]]:
    known = {case.name: case for case in plans.checkpoints()}
    for file in sorted(FOLDER.glob("h100-*.jsonl")):
        for line in lines(file.name):
            kind = str(line.get("kind"))
            if not line.get("ok") or not line.get("block"):
                continue
            if kind in known:
                yield known[kind], line["block"]
            if kind in ("case", "memory"):
                case = Case(**line["case"])
                if case.level == cases.PLAIN and not case.profile and case.training.get("infer_dtype") is None:
                    yield case, line["block"]


def _name(case: Case) -> str:
    training = {"finetuning_type": "lora"} | case.training
    words = {
        "pure_bf16": "pure bf16",
        "disable_gradient_checkpointing": "no checkpointing",
        "enable_liger_kernel": "Liger",
    }
    bits = f"{training['quantization_bit']} bits" if "quantization_bit" in training else None
    rows = training.get("per_device_train_batch_size", 4)
    length = case.data.removeprefix("full-") if case.data.startswith("full") else f"2048 {case.data}"
    twice = (
        f"accumulation {training['gradient_accumulation_steps']}" if "gradient_accumulation_steps" in training else ""
    )
    parts = [training["finetuning_type"], bits, *(text for key, text in words.items() if training.get(key)), twice]
    rank = f"rank {training['lora_rank']}" if "lora_rank" in training else ""
    return ", ".join(str(part) for part in [*parts, rank, f"{rows} x {length}"] if part)
