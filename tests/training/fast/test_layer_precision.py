"""Training in bf16 with the hand-written layer stays at least as near to fp32 as transformers and peft do."""

from __future__ import annotations

import statistics
from typing import Any

import torch
from torch import nn

from tests.training.fast.layers import flat_row, isolation, tiny_model
from workloads.training.fast import layer

_LENGTHS = [21, 9, 30, 4]


def _model(dtype: torch.dtype) -> nn.Module:
    """A model whose LoRA factors are as they are before training: B is zero, and both are fp32."""
    model = tiny_model("Qwen3", layers=4)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            nn.init.zeros_(parameter)
        elif "lora_" not in name:
            parameter.data = parameter.data.to(torch.bfloat16).to(dtype)  # what both can hold
    return model


def _losses(model: nn.Module, mixed: bool, **extra: Any) -> list[float]:
    """14 steps of AdamW, each on a row of its own."""
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    losses = []
    for seed in range(14):
        inputs, documents = flat_row(_LENGTHS, seed)
        told = {"documents": documents} if not extra else extra
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            logits = model(**inputs, **told).logits
        loss = nn.functional.cross_entropy(logits[0, :-1].float(), inputs["input_ids"][0, 1:])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def test_fourteen_steps_in_bf16_against_fp32() -> None:
    mask = isolation(_LENGTHS)
    exact = _losses(_model(torch.float32), False, attention_mask=mask)
    plain = _losses(
        _model(torch.bfloat16), True, attention_mask=mask.clamp(min=torch.finfo(torch.bfloat16).min).bfloat16()
    )
    fast_model = _model(torch.bfloat16)
    layer.replace_layers(fast_model)
    fast = _losses(fast_model, True)
    distances = [statistics.mean(abs(a - b) for a, b in zip(run, exact, strict=True)) for run in (plain, fast)]
    assert 0 < distances[1] <= distances[0], distances
