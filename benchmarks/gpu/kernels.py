"""Our attention over short documents on a GPU, against torch's flash kernels: distance, speed, and which tiles to take.

python -m benchmarks.gpu.attention > attention.json
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from typing import Any

import torch
import triton
from torch import Tensor

from benchmarks.gpu.layer import batches
from workloads.training.fast import gated_kernels, reference, short_attention
from workloads.training.fast.attention import Documents, attend_backward, attend_forward
from workloads.training.fast.layer_attention import spans

_TILES = {
    "FORWARD": [(64, 64, 4, 2), (64, 64, 4, 3), (128, 64, 8, 2), (64, 32, 4, 3), (128, 128, 8, 2)],
    "QUERY": [(64, 64, 4, 2), (64, 32, 4, 2), (64, 32, 4, 3), (128, 64, 8, 2), (64, 64, 8, 2)],
    "KEY": [(32, 64, 4, 2), (64, 64, 4, 2), (64, 64, 8, 2), (32, 64, 4, 3), (64, 128, 8, 2), (32, 128, 8, 2)],
}


def attention() -> dict[str, Any]:
    """Microseconds of attention over 8,192 tokens, 32 heads of 128 and 8 of keys, by tile and by documents' length."""
    tokens, dim = 8192, 128
    torch.manual_seed(0)
    query, grad = torch.randn(2, tokens, 32, dim, device="cuda", dtype=torch.bfloat16)
    key, value = torch.randn(2, tokens, 8, dim, device="cuda", dtype=torch.bfloat16)
    [drawn] = batches(1, 4, 1000)
    found = {"186 in the mean": _compare_attention(drawn["documents"], grad, (query, key, value), _TILES)}
    for length in (256, 512, 1024, 2048):
        starts = torch.arange(0, tokens + 1, length, dtype=torch.int32, device="cuda")
        documents = Documents(starts, length, starts, starts)
        found[str(length)] = _compare_attention(documents, grad, (query, key, value), {})
    return found


def _compare_attention(
    documents: Documents, grad: Tensor, inputs: tuple[Tensor, Tensor, Tensor], tiles: dict[str, list[Any]]
) -> dict[str, Any]:
    scaling = inputs[0].shape[-1] ** -0.5
    exact, kept = attend_forward(*inputs, documents, scaling)
    flash_backward = (grad, *inputs, exact, kept, documents, scaling)
    first, last = spans(documents, grad.shape[0])
    out = torch.empty_like(exact)
    own_forward = (*inputs, first, scaling, out)
    total = short_attention.attend_forward(*own_forward)
    own_backward = (grad, *inputs, out, total, first, last, scaling)
    pairs = zip(
        (out, *short_attention.attend_backward(*own_backward)), (exact, *attend_backward(*flash_backward)), strict=True
    )
    row: dict[str, Any] = {
        "distance": [float((a.float() - b.float()).norm() / b.float().norm()) for a, b in pairs],
        "flash forward": _time(attend_forward, *inputs, documents, scaling),
        "flash backward": _time(attend_backward, *flash_backward),
        "own forward": _time(short_attention.attend_forward, *own_forward),
        "own backward": _time(short_attention.attend_backward, *own_backward),
    }
    for name, choices in tiles.items():
        before = getattr(short_attention, name)
        for choice in choices:
            setattr(short_attention, name, short_attention.Tile(*choice))
            try:
                if name == "FORWARD":
                    row[f"{name} {choice}"] = _time(short_attention.attend_forward, *own_forward)
                else:
                    row[f"{name} {choice}, whole backward"] = _time(short_attention.attend_backward, *own_backward)
            except triton.runtime.OutOfResources as error:
                row[f"{name} {choice}"] = str(error)
        setattr(short_attention, name, before)
    return row


def gated() -> dict[str, Any]:
    """Microseconds of the gradient of the gated activation with its LoRA gradients, fused and apart."""
    tokens, width = 8192, 9728
    torch.manual_seed(0)
    gate_up = torch.randn(tokens, 2 * width, device="cuda", dtype=torch.bfloat16)
    grad = torch.randn(tokens, width, device="cuda", dtype=torch.bfloat16)
    left, low = torch.randn(2, tokens, 64, device="cuda", dtype=torch.bfloat16)
    out, exact = torch.empty(2, tokens, 2 * width + 64, device="cuda", dtype=torch.bfloat16)[..., : 2 * width]
    call = (grad, gate_up, left, low, (8, 16), out)
    found = gated_kernels.gated_backward(*call)
    wanted = reference.gated_backward(grad, gate_up, left, low, (8, 16), exact)
    pairs = [(out, exact), (found[0][:8], wanted[0]), (found[1][:, :16], wanted[1])]
    row: dict[str, Any] = {
        "distance": [float((a.float() - b.float()).norm() / b.float().norm()) for a, b in pairs],
        "apart": _time(gated_kernels._apart, grad, gate_up, left, low, out),
    }
    factor = torch.zeros(64, width, device="cuda", dtype=torch.bfloat16)
    factor[:8].normal_()
    wide = torch.empty(tokens, width + 64, device="cuda", dtype=torch.bfloat16)
    low = gated_kernels.gated(gate_up, factor, 8, wide)
    before = wide.clone()
    wanted_low = reference.gated(gate_up, factor, 8, wide)
    pairs = [(low, wanted_low), (before, wide)]
    row["distance forward"] = [float((a.float() - b.float()).norm() / b.float().norm()) for a, b in pairs]
    row["forward apart"] = _time(gated_kernels.gated, gate_up, factor, 64, wide)
    for tile in ((32, 128, 4, 3), (32, 128, 4, 2), (64, 64, 4, 3), (32, 64, 4, 3), (16, 128, 4, 3)):
        for slabs in (4, 8, 16):
            gated_kernels.FORWARD_TILE, gated_kernels.FORWARD_SLABS = tile, slabs
            row[f"forward {tile}, {slabs} slabs"] = _time(gated_kernels.gated, gate_up, factor, 8, wide)
    for tile in ((32, 128, 4, 3), (32, 64, 4, 3), (32, 64, 4, 4), (16, 128, 4, 3)):
        for slabs in (8, 16, 32):
            gated_kernels.BACKWARD_TILE, gated_kernels.BACKWARD_SLABS = tile, slabs
            try:
                row[f"{tile}, {slabs} slabs"] = _time(gated_kernels.gated_backward, *call)
            except triton.runtime.OutOfResources as error:
                row[f"{tile}, {slabs} slabs"] = str(error)
    return row


def _time(call: Callable[..., Any], *arguments: Any) -> float:
    """Median microseconds of a call on the device, of 20 after 5."""
    marks = []
    for _ in range(25):
        pair = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        pair[0].record()
        call(*arguments)
        pair[1].record()
        marks.append(pair)
    torch.cuda.synchronize()
    return 1e3 * statistics.median(float(begin.elapsed_time(end)) for begin, end in marks[5:])


if __name__ == "__main__":
    print(json.dumps({"device": torch.cuda.get_device_name(), "gated": gated()}), flush=True)
    print(json.dumps({"attention": attention()}))
