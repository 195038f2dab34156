"""In bf16 the hand-written layer trains as in fp32, also where rounding swallows the young LoRA delta in peft."""

from __future__ import annotations

import statistics
from typing import Any

import torch
from torch import nn

from tests.training.fast.layers import isolation, tiny_model
from workloads.training.fast import layer
from workloads.training.fast.attention import Documents

_LENGTHS = [40, 9, 60, 19]
_VOCABULARY = 512


def _model(dtype: torch.dtype) -> nn.Module:
    """A model before training: B is zero, the factors are fp32, and the base is what bf16 can hold."""
    model = tiny_model(
        "Qwen3", layers=4, vocab_size=_VOCABULARY, hidden_size=256, intermediate_size=512, head_dim=32,
        num_attention_heads=8, num_key_value_heads=4, tie_word_embeddings=True,
    )  # fmt: skip
    generator = torch.Generator().manual_seed(0)
    for name, parameter in model.named_parameters():
        if "lora_A" in name:
            nn.init.normal_(parameter, std=0.02, generator=generator)
        elif "lora_B" in name:
            nn.init.zeros_(parameter)
        elif parameter.ndim == 2:
            nn.init.normal_(parameter, std=0.04, generator=generator)
            parameter.data = parameter.data.bfloat16().to(dtype)
        else:
            nn.init.ones_(parameter)
            parameter.data = parameter.data.to(dtype)
    return model


def _losses(model: nn.Module, mixed: bool, fast: bool) -> list[float]:
    """14 steps of AdamW on rows whose tokens are as unequally frequent as words: that can be learnt at once."""
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)
    mask = isolation(_LENGTHS)
    if mixed:
        mask = mask.clamp(min=torch.finfo(torch.bfloat16).min).bfloat16()
    positions = torch.cat([torch.arange(length) for length in _LENGTHS])[None]
    starts = torch.tensor([0, *_LENGTHS]).cumsum(0).int()
    losses = []
    for seed in range(14):
        generator = torch.Generator().manual_seed(seed)
        tokens = torch.multinomial(1 / torch.arange(1.0, _VOCABULARY + 1), sum(_LENGTHS), True, generator=generator)[
            None
        ]
        documents = Documents(starts, max(_LENGTHS), torch.arange(sum(_LENGTHS) - 1), tokens[0, 1:])
        told: dict[str, Any] = {"documents": documents} if fast else {"attention_mask": mask}
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            logits = model(input_ids=tokens, position_ids=positions, use_cache=False, **told).logits
        loss = nn.functional.cross_entropy(logits[0, :-1].float(), tokens[0, 1:])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def test_fourteen_steps_in_bf16_against_fp32() -> None:
    exact = _losses(_model(torch.float32), mixed=False, fast=False)
    plain = _losses(_model(torch.bfloat16), mixed=True, fast=False)
    model = _model(torch.bfloat16)
    layer.replace_layers(model)
    fast = _losses(model, mixed=True, fast=True)
    distances = [statistics.mean(abs(a - b) for a, b in zip(run, exact, strict=True)) for run in (plain, fast)]
    assert 0 < distances[1] < distances[0] / 2, distances
