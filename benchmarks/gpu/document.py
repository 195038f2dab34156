"""``python -m benchmarks.gpu.document``: docs/gpu-figures.md from the committed results."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.gpu import cases
from benchmarks.gpu.results import lines, peaks
from workloads.bench.figures import Block, Figures, figures, flops_per_token

PAGE = Path(__file__).parents[2] / "docs" / "gpu-figures.md"
SPEED, AGAIN, STARTS, LAYER = (
    f"h100-{name}.jsonl" for name in ("speed", "again-runs-gradients-memory", "starts-checkpoints-memory", "layer")
)
_GIB = 1 << 30
_KINDS = {
    "matrix products": ("nvjet", "gemm", "cutlass"),
    "attention": ("attend", "sdpa", "flash"),
    "gated unit": ("gated", "swiglu"),
    "norms, rotation": ("norm", "rotate", "rope"),
    "loss": ("SoftMax", "nll", "cross_entropy"),
    "copies, sums, casts": ("elementwise", "copy", "reduce", "Memcpy", "Memset"),
}


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table of Markdown."""
    out = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in row) + " |" for row in out)


def _cases(file: str) -> dict[str, dict[str, Any]]:
    return {line["case"]["name"]: line for line in lines(file) if line["kind"] == "case" and line["ok"]}


def _figures(line: dict[str, Any], warmup: int) -> Figures:
    block = Block.from_dict(line["block"])
    return figures([[block]], flops_per_token(line["case"]["training"], line["config"]), warmup)


def _whole(line: dict[str, Any]) -> float:
    steps = line["block"]["steps"]
    return float(sum(step["tokens"] for step in steps) / sum(step["seconds"] for step in steps))


def _speed_row(label: str, line: dict[str, Any], warmup: int) -> list[str]:
    found = _figures(line, warmup)
    first = line["block"]["steps"][0]["seconds"]
    return [
        label,
        f"{found.tokens_per_second:,.0f}",
        f"{_whole(line):,.0f}",
        f"{first:.1f} s",
        f"{found.p50 * 1e3:.0f} / {found.p95 * 1e3:.0f} ms",
        f"{found.mfu:.0%}",
        f"{found.allocated / _GIB:.1f} / {found.reserved / _GIB:.1f}",
    ]


_SPEED_HEAD = (
    "inside LLaMA-Factory's Trainer",
    "tokens/s",
    "with the start",
    "first step",
    "step p50 / p95",
    "MFU",
    "GiB",
)


def main_table() -> str:
    """Qwen3-4B, two calls."""
    first, again = _cases(SPEED), _cases(AGAIN)
    run = next(line for line in lines(AGAIN) if line["kind"] == "run, preset fast")
    run |= {"case": again["layer"]["case"], "config": again["layer"]["config"]}
    one = [
        ("LLaMA-Factory, neat packing (isolated documents)", first["plain isolated"]),
        ("LLaMA-Factory, packing (documents see one another)", first["plain packed"]),
        ("level `flat`", first["flat"]),
        ("level `lora`", first["lora"]),
        ("level `layer`", first["layer"]),
    ]
    two = [
        ("LLaMA-Factory, neat packing, 30 steps", again["plain isolated, 30 steps"], 10),
        ("LLaMA-Factory, packing, 30 steps", again["plain packed, 30 steps"], 10),
        ("level `layer`, kernels compiled in this run", again["layer"], 24),
        ("`tunery run`, `preset: fast`, 3 saves; kernels compiled before", run, 24),
    ]
    return (
        "First call, three epochs of 24 steps, tokens/s of epochs 2 and 3:\n\n"
        + table(_SPEED_HEAD, [_speed_row(label, line, 24) for label, line in one])
        + "\n\nSecond call, with the kernels as they are now (tokens/s after 24 steps, of the short rows after 10):\n\n"
        + table(_SPEED_HEAD, [_speed_row(*row) for row in two])
    )


def others_table() -> str:
    """Other models."""
    found = _cases(SPEED)
    rows = [(name, found[name]) for name in ("llama-3-8b lora plain", "llama-3-8b lora layer")]
    return table(_SPEED_HEAD, [_speed_row(label, line, 5) for label, line in rows])


def equality_table() -> str:
    """Losses and gradients against fp32, of the layer's own benchmark."""
    found: dict[str, Any] = {}
    for line in lines(LAYER):
        found |= line
    losses = [
        [label, f"{row['mean distance']:.4f}", f"{row['max distance']:.4f}"]
        for label, row in found["loss"].items()
        if label != "fp32"
    ]
    gradients = [
        [model, label, f"{row['median']:.2%}", f"{row['worst']:.2%}"]
        for model, each in found["check"].items()
        for label, row in each.items()
        if label not in ("fp32", "layer, not lean")
    ]
    return (
        table(("14 steps of AdamW, Qwen3-4B", "mean loss distance to fp32", "largest"), losses)
        + "\n\n"
        + table(("two layers of", "run in bf16", "gradient error against fp32, median", "worst parameter"), gradients)
    )


def profile_table() -> str:
    """Milliseconds of a step by kind of kernel."""
    found = _cases(SPEED)
    columns = [_by_kind(found[f"profile {level}"]["kernels"]) for level in (cases.PLAIN, "layer")]
    rows = [[kind, *(f"{column.get(kind, 0):.0f}" for column in columns)] for kind in [*_KINDS, "other"]]
    return table(("largest kernels, ms a step", "LLaMA-Factory, neat packing", "level `layer`"), rows)


def _by_kind(kernels: Iterable[dict[str, Any]]) -> dict[str, float]:
    sums: dict[str, float] = {}
    for kernel in kernels:
        if not kernel["name"].startswith("ProfilerStep"):
            kind = next((kind for kind, marks in _KINDS.items() if any(m in kernel["name"] for m in marks)), "other")
            sums[kind] = sums.get(kind, 0.0) + kernel["us"] / 1000
    return sums


def memory_table() -> str:
    """The estimate beside each peak."""
    found = peaks()
    near = sum(abs(peak.off) <= 0.1 for peak in found)
    rows = [
        [peak.model, peak.name, f"{peak.held / 1e9:.1f}", f"{peak.estimate / 1e9:.1f}", f"{peak.off:+.1%}"]
        for peak in found
    ]
    head = ("model", "training", "held GB", "estimate GB", "off")
    lowest = min(peak.off for peak in found)
    return f"{near} of {len(found)} within 10 %; the lowest is {lowest:+.1%}.\n\n" + table(head, rows)


def start_table() -> str:
    """From a process's start to its first step."""
    found = {line["kind"]: line for line in lines(STARTS)}
    rows = [
        ["llamafactory-cli train", f"{found['start plain']['first_step']:.1f} s"],
        ["`tunery` train stage, data prepared, no kernel compiled yet", f"{found['start run']['first_step']:.1f} s"],
    ]
    return table(("Qwen3-4B from disk, packed alpaca-like data", "to the first step"), rows)


def saves_table() -> str:
    """What a checkpoint costs the training."""
    rows = []
    every = {**{line["kind"]: line for line in lines(STARTS)}, **{line["kind"]: line for line in lines(AGAIN)}}
    for name, label in (
        ("run, preset fast", "Qwen3-4B, LoRA"),
        ("checkpoints qwen3-0.6b full", "Qwen3-0.6B, full, pure bf16"),
        ("checkpoints qwen3-1.7b full", "Qwen3-1.7B, full, pure bf16"),
    ):
        line = every[name]
        saves = [event for event in line["events"] if event["event"] == "checkpoint_saved"]
        step = statistics.median(each["seconds"] for each in line["block"]["steps"])
        stall = statistics.mean(event["seconds"] for event in saves)
        rows.append(
            [
                label,
                f"{saves[0]['bytes'] / 1e9:.1f} GB",
                f"{stall:.2f} s ({stall / step:.0f} steps)",
                f"{stall / (500 * step):.2%}",
                f"{statistics.mean(event['committed_after'] for event in saves):.1f} s",
            ]
        )
    return table(
        ("run", "checkpoint", "training stands still", "of the time, saving every 500 steps", "durable after"), rows
    )


def page() -> str:
    """The whole page."""
    machine = next(line for line in lines(AGAIN) if line["kind"] == "machine")
    return (
        (Path(__file__).parent / "page.md")
        .read_text(encoding="utf-8")
        .format(
            device=machine["device"],
            torch=machine["torch"],
            flops=f"{machine['flops'] / 1e12:.0f}",
            copy=f"{machine['copy'] / 1e12:.2f}",
            main=main_table(),
            others=others_table(),
            equality=equality_table(),
            profile=profile_table(),
            memory=memory_table(),
            starts=start_table(),
            saves=saves_table(),
        )
    )


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
