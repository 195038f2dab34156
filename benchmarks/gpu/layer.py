"""The hand-written decoder layer on a GPU against transformers and peft: gradients, losses, speed, where time goes.

    python -m benchmarks.gpu.layer [check] [loss] [time] [profile] > layer.jsonl

Weights are random (seeded), of the architectures named below: speed and equality need no others. `check` compares the
gradients of two layers of each family with those of fp32; `loss` 14 optimizer steps of Qwen3-4B with those of fp32;
`time` and `profile` run Qwen3-4B on 8,192 tokens a step: four packs of 2048, documents of 186 tokens in the mean.
"""

from __future__ import annotations

import itertools
import json
import statistics
import sys
import time
from collections import defaultdict
from typing import Any

import torch
import transformers
import triton
from peft import LoraConfig, get_peft_model
from torch import Tensor

from workloads.training.fast.attention import Documents
from workloads.training.fast.install import install
from workloads.training_config.levels import Level

_ADAPTED = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
_PEAK = 798e12  # FLOP/s: bf16 matrix products of this size, measured on an H100
QWEN3_4B: dict[str, Any] = {
    "family": "Qwen3", "vocab_size": 151936, "hidden_size": 2560, "intermediate_size": 9728, "num_hidden_layers": 36,
    "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128, "rope_theta": 1e6,
    "tie_word_embeddings": True,
}  # fmt: skip
PAIRS_OF_LAYERS: dict[str, dict[str, Any]] = {
    "Qwen3-4B": QWEN3_4B | {"num_hidden_layers": 2, "vocab_size": 4096},
    "Llama-3-8B": {
        "family": "Llama", "vocab_size": 4096, "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 2,
        "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128,
    },
    "Mistral-7B, window 96": {
        "family": "Mistral", "vocab_size": 4096, "hidden_size": 4096, "intermediate_size": 14336,
        "num_hidden_layers": 2, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128,
        "sliding_window": 96,
    },
    "Qwen2.5-7B": {
        "family": "Qwen2", "vocab_size": 4096, "hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 2,
        "num_attention_heads": 28, "num_key_value_heads": 4,
    },
}  # fmt: skip


def build(architecture: dict[str, Any], dtype: torch.dtype, like: Any = None, spread: float = 0.0) -> Any:
    """A model with LoRA r8 on every linear layer, with fp32 factors; `like` another one, or random, B of `spread`."""
    options = {**architecture, "max_position_embeddings": 8192}
    family = options.pop("family")
    config = getattr(transformers, f"{family}Config")(**options)
    torch.manual_seed(0)
    with torch.device("cuda"):
        model = transformers.AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation="sdpa")
    model = get_peft_model(model, LoraConfig(r=8, lora_alpha=16, target_modules=_ADAPTED, task_type="CAUSAL_LM"))
    if like is not None:
        model.load_state_dict(like.state_dict())
    else:
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=spread)
    return model.train()


def batches(number: int, packs: int, vocabulary: int, pack: int = 2048) -> list[dict[str, Any]]:
    """Flat rows of random tokens; lengths are log-normal, 186 in the mean; of a document the latter half is learnt."""
    generator = torch.Generator().manual_seed(7)
    made = []
    for _ in range(number):
        lengths: list[int] = []
        for _ in range(packs):
            left = pack
            while left > 0:
                length = int(torch.exp(5.03 + 0.62 * torch.randn((), generator=generator)).clamp(16, left))
                length = length if left - length >= 16 else left
                lengths.append(length)
                left -= length
        tokens = torch.randint(0, vocabulary, (1, sum(lengths)), generator=generator)
        starts = torch.tensor([0, *lengths]).cumsum(0).int()
        learnt = [
            torch.arange(start + length // 2, start + length - 1)
            for start, length in zip(starts[:-1].tolist(), lengths, strict=True)
        ]
        rows = torch.cat(learnt)
        documents = Documents(starts, max(lengths), rows, tokens[0, rows + 1]).to("cuda")
        positions = torch.cat([torch.arange(length) for length in lengths])[None]
        made.append({"input_ids": tokens.cuda(), "position_ids": positions.cuda(), "documents": documents})
    return made


def loss_of(model: Any, batch: dict[str, Any], mixed: bool = True) -> Tensor:
    with torch.autocast("cuda", torch.bfloat16, enabled=mixed):
        loss: Tensor = model(**batch, labels=batch["input_ids"]).loss
    return loss


def gradients(model: Any, batch: dict[str, Any], mixed: bool = True) -> tuple[float, dict[str, Tensor]]:
    loss = loss_of(model, batch, mixed)
    loss.backward()
    grads = {name: parameter.grad.float() for name, parameter in model.named_parameters() if parameter.grad is not None}
    return loss.item(), grads


def check() -> dict[str, Any]:
    """Relative errors of the gradients of all LoRA factors of two layers, from an fp32 run; B is 0.02-random."""
    found = {}
    for name, architecture in PAIRS_OF_LAYERS.items():
        [batch] = batches(1, 1, architecture["vocab_size"])
        start = build(architecture, torch.bfloat16, spread=0.02)
        row: dict[str, Any] = {}
        exact: dict[str, Tensor] = {}
        for label, level, dtype, lean in (
            ("fp32", Level.FLAT, torch.float32, True),
            ("transformers and peft", Level.FLAT, torch.bfloat16, True),
            ("layer", Level.LAYER, torch.bfloat16, True),
            ("layer, not lean", Level.LAYER, torch.bfloat16, False),
        ):
            model = build(architecture, dtype, like=start)
            installed = install(model, level, lean=lean)
            if installed.level != level:
                raise RuntimeError(f"{name}: {installed}")
            loss, grads = gradients(model, batch, dtype == torch.bfloat16)
            if not exact:
                exact = grads
                row[label] = {"loss": loss}
                continue
            errors = {key: float((grads[key] - exact[key]).norm() / exact[key].norm()) for key in exact}
            worst = max(errors, key=lambda key: errors[key])
            row[label] = {
                "loss": loss, "median": statistics.median(errors.values()), "worst": errors[worst], "where": worst
            }  # fmt: skip
        found[name] = row
    return found


def losses() -> dict[str, Any]:
    """14 steps of AdamW at 1e-4 on packs of 2048, B from zero: losses, and their distance from the fp32 run."""
    rows = batches(14, 1, QWEN3_4B["vocab_size"])
    start = build(QWEN3_4B, torch.bfloat16)
    start.cpu()
    curves: dict[str, list[float]] = {}
    for label, level, dtype in (
        ("fp32", Level.FLAT, torch.float32),
        ("transformers and peft", Level.FLAT, torch.bfloat16),
        ("layer", Level.LAYER, torch.bfloat16),
    ):
        model = build(QWEN3_4B, dtype, like=start)
        install(model, level)
        optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4, fused=True)
        curves[label] = []
        for batch in rows:
            loss = loss_of(model, batch, dtype == torch.bfloat16)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            curves[label].append(loss.item())
        del model, optimizer
        torch.cuda.empty_cache()
    distances = {
        label: [abs(a - b) for a, b in zip(curve, curves["fp32"], strict=True)] for label, curve in curves.items()
    }
    return {
        label: {"losses": curves[label], "mean distance": statistics.mean(d), "max distance": max(d)}
        for label, d in distances.items()
    }


def _steps(level: Level, lean: bool, packs: int) -> Any:
    """A function that makes one optimizer step of Qwen3-4B."""
    rows = batches(8, packs, QWEN3_4B["vocab_size"])
    model = build(QWEN3_4B, torch.bfloat16)
    install(model, level, lean=lean)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4, fused=True)

    def step(number: int) -> None:
        loss_of(model, rows[number % len(rows)]).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def speed(level: Level = Level.LAYER, lean: bool = True, packs: int = 4) -> dict[str, Any]:
    """Steps after 4 of warming up: tokens a second, share of the peak by 4 N FLOP a token, milliseconds, memory."""
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    step = _steps(level, lean, packs)
    for number in range(4):
        step(number)
    torch.cuda.synchronize()
    marks = [torch.cuda.Event(enable_timing=True) for _ in range(17)]
    began = time.perf_counter()
    marks[0].record()
    for number in range(16):
        step(number)
        marks[number + 1].record()
    issued = time.perf_counter() - began
    torch.cuda.synchronize()
    total = time.perf_counter() - began
    rate = 16 * packs * 2048 / total
    return {
        "level": level.name, "lean": lean, "tokens_a_step": packs * 2048, "tokens_a_second": rate,
        "mfu": rate * 4 * 4.02e9 / _PEAK,
        "median_step_ms": statistics.median(a.elapsed_time(b) for a, b in itertools.pairwise(marks)),
        "host_ms_a_step": issued / 16 * 1e3, "peak_gib": torch.cuda.max_memory_allocated() / 2**30,
    }  # fmt: skip


def profile(packs: int = 4) -> list[dict[str, Any]]:
    """The kernels of one step, by time on the device."""
    step = _steps(Level.LAYER, True, packs)
    for number in range(3):
        step(number)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profiler:
        step(3)
        torch.cuda.synchronize()
    spent: dict[str, list[float]] = defaultdict(list)
    for event in profiler.events():
        spent[event.name].append(event.device_time)
    order = sorted(spent, key=lambda name: -sum(spent[name]))[:40]
    return [
        {"kernel": name[:110], "ms": sum(spent[name]) / 1e3, "calls": len(spent[name]),
         "median_us": statistics.median(spent[name]), "max_us": max(spent[name])}
        for name in order
    ]  # fmt: skip


PARTS = {
    "check": check,
    "time": lambda: [speed(), speed(lean=False), speed(packs=8)],
    "profile": profile,
    "loss": losses,
}


def main(parts: list[str]) -> None:
    """Prints what was found, a line of JSON a part."""
    versions = {"torch": torch.__version__, "transformers": transformers.__version__, "triton": triton.__version__}
    print(json.dumps({"device": torch.cuda.get_device_name(), **versions}))
    for part in parts:
        print(json.dumps({part: PARTS[part]()}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:] or list(PARTS))
