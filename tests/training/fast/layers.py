"""Tiny models with LoRA, flat rows for them, and the comparison of a hand-written layer with what it replaces."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch
from torch import nn

from workloads.training.fast import layer
from workloads.training.fast.attention import Documents

FAMILIES = ("Llama", "Mistral", "Qwen2", "Qwen3")
ALL = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def tiny_model(
    family: str, targets: tuple[str, ...] = ALL, seed: int = 0, layers: int = 2, **options: Any
) -> nn.Module:
    """A tiny random model with LoRA, whose factors, biases and norms are all far from their first values."""
    import transformers
    from peft import LoraConfig, get_peft_model

    sizes = {
        "vocab_size": 97, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": layers, "head_dim": 8,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 128, "sliding_window": None,
    }  # fmt: skip
    config = getattr(transformers, f"{family}Config")(**{**sizes, **options}, attn_implementation="eager")
    torch.manual_seed(seed)
    model = getattr(transformers, f"{family}ForCausalLM")(config)
    lora = LoraConfig(r=3, lora_alpha=7, target_modules=list(targets), task_type="CAUSAL_LM")
    adapted: nn.Module = get_peft_model(model, lora)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "norm" in name:
                parameter.add_(0.3 * torch.randn_like(parameter))
            elif name.endswith("bias") or "lora_" in name:
                parameter.copy_(0.2 * torch.randn_like(parameter))
            elif "layers" in name:
                parameter.mul_(8)  # transformers starts at 0.02, where attention is almost uniform
    return adapted.train()


def flat_row(lengths: list[int], seed: int = 1) -> tuple[dict[str, Any], Documents]:
    """Random tokens of documents end to end: what the model is given, with and without a mask, and their bounds."""
    generator = torch.Generator().manual_seed(seed)
    total = sum(lengths)
    tokens = torch.randint(0, 97, (1, total), generator=generator)
    starts = torch.tensor([0, *lengths]).cumsum(0).int()
    positions = torch.cat([torch.arange(length) for length in lengths])[None]
    every = torch.arange(total - 1)
    return (
        {"input_ids": tokens, "position_ids": positions, "use_cache": False},
        Documents(starts=starts, longest=max(lengths), rows=every, targets=tokens[0, 1:]),
    )


def isolation(lengths: list[int]) -> torch.Tensor:
    """The additive 4D mask that keeps documents apart."""
    number = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
    seen = (number[:, None] == number[None, :]).tril()
    return torch.zeros(seen.shape).masked_fill(~seen, torch.finfo(torch.float32).min)[None, None]


def step(
    model: nn.Module, inputs: dict[str, Any], weight: torch.Tensor
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Logits, and the gradients of their weighted sum."""
    model.zero_grad()
    logits = model(**inputs).logits
    (logits * weight).sum().backward()
    return logits.detach(), {
        name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None
    }


def watch(model: nn.Module) -> list[str]:
    """The names of the autograd nodes that the decoder layers will have ended with."""
    nodes: list[str] = []
    for decoder in layer.decoder_layers(model):
        decoder.register_forward_hook(lambda _module, _inputs, output: nodes.append(output.grad_fn.name()))
    return nodes


def compare(family: str, lengths: list[int], lean: bool = True, **options: Any) -> None:
    inputs, documents = flat_row(lengths)
    weight = torch.randn(1, sum(lengths), 97, generator=torch.Generator().manual_seed(2)) / 10
    plain, fast = tiny_model(family, **options), tiny_model(family, **options)
    assert layer.refuse(fast) is None
    layer.replace_layers(fast, lean)
    nodes = watch(fast)
    logits, grads = step(plain, {**inputs, "attention_mask": isolation(lengths)}, weight)
    fast_logits, fast_grads = step(fast, {**inputs, "documents": documents}, weight)
    torch.testing.assert_close(fast_logits, logits, rtol=1e-5, atol=1e-5)
    assert nodes == ["_LayerBackward"] * 2
    assert fast_grads.keys() == grads.keys()
    for name, grad in grads.items():
        scale = grad.abs().max()
        assert scale > 0, name
        torch.testing.assert_close(fast_grads[name] / scale, grad / scale, rtol=1e-5, atol=1e-5, msg=name)


def average_gradients(rank: int, folder: str) -> None:
    """One of two processes: two passes over rows of its own, the first without exchange; saves the gradients."""
    from torch import distributed
    from torch.nn.parallel import DistributedDataParallel

    distributed.init_process_group("gloo", f"file://{folder}/rendezvous", rank=rank, world_size=2)
    model = tiny_model("Qwen3")
    layer.replace_layers(model)
    parallel = DistributedDataParallel(model)
    for part in range(2):
        inputs, documents = flat_row([4, 6], seed=10 * rank + part)
        with parallel.no_sync() if part == 0 else nullcontext():
            parallel(**inputs, documents=documents).logits.sum().backward()
    grads = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}
    torch.save(grads, f"{folder}/{rank}.pt")
    distributed.destroy_process_group()
