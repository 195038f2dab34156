"""The loss of a flat row: the head works on those tokens only whose next one is learnt, some of them at a time."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, log_softmax
from torch.utils.checkpoint import checkpoint

from workloads.training.fast.attention import Documents
from workloads.training_config.level_memory import LOGITS_AT_ONCE


def loss_of(hidden: Tensor, head: nn.Module, documents: Documents, items: Tensor | int | None) -> Tensor:
    """The sum of the cross entropies over ``items``, as transformers' ``ForCausalLMLoss`` has it.

    Args:
        hidden: 1 x tokens x width, what comes out of the last norm.
        head: gives the logits.
        items: by what the sum is divided; the number of targets when None.
    """
    rows = hidden[0].index_select(0, documents.rows)
    size = max(1, LOGITS_AT_ONCE // _vocabulary(head))
    if _plain(head):
        total: Tensor = PlainHead.apply(rows, head.weight, documents.targets, size, torch.is_grad_enabled())
    else:
        parts = zip(rows.split(size), documents.targets.split(size), strict=True)
        total = sum((checkpoint(_entropy, head, *part, use_reentrant=False) for part in parts), rows.new_zeros(()))
    return total / (max(1, len(documents.targets)) if items is None else items)


def loss_of_logits(logits: Tensor, documents: Documents, items: Tensor | int | None) -> Tensor:
    """:func:`loss_of` where a model makes its logits in a way of its own: targets x vocabulary."""
    total = cross_entropy(logits.float(), documents.targets, reduction="sum")
    return total / (max(1, len(documents.targets)) if items is None else items)


class PlainHead(torch.autograd.Function):  # type: ignore[misc]  # torch is not followed by mypy
    """A linear head and the cross entropy: the gradient is made at once, so no logits are kept."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, weight: Tensor, targets: Tensor, size: int, learning: bool) -> Tensor:
        """The sum of the cross entropies, in fp32.

        Args:
            ctx: autograd's.
            rows: targets x width.
            weight: vocabulary x width.
            targets: of each row the token that is right.
            size: how many rows at a time.
            learning: whether gradients will be asked for.
        """
        device = rows.device.type
        kind = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else rows.dtype
        total = torch.zeros((), dtype=torch.float32, device=rows.device)
        drows = torch.empty_like(rows) if learning and ctx.needs_input_grad[0] else None
        dweight = torch.zeros_like(weight) if learning and ctx.needs_input_grad[1] else None
        with torch.autocast(device, enabled=False):
            matrix = weight.to(kind)
            for start in range(0, len(rows), size):
                part, right = rows[start : start + size].to(kind), targets[start : start + size]
                logits = part @ matrix.T
                total += _entropy_in_place(logits, right, drows is not None or dweight is not None).sum()
                if drows is not None:
                    drows[start : start + size] = logits @ matrix
                if dweight is not None:
                    dweight += logits.T @ part
        ctx.save_for_backward(drows, dweight)
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        """Scales what is there already."""
        return *(None if each is None else each * grad.to(each.dtype) for each in ctx.saved_tensors), None, None, None


def _entropy_in_place(logits: Tensor, targets: Tensor, learning: bool) -> Tensor:
    """The cross entropy of each row; with ``learning`` the logits become their own gradient."""
    if logits.is_cuda:
        from workloads.training.fast import head_kernel

        return head_kernel.entropy_in_place(logits, targets, learning)
    logs = log_softmax(logits, -1, dtype=torch.float32)
    losses = -logs.gather(1, targets[:, None])[:, 0]
    if learning:
        logits.copy_(logs.exp_().scatter_add_(1, targets[:, None], logs.new_full((len(logs), 1), -1.0)))
    return losses


def _plain(head: nn.Module) -> bool:
    """Whether nothing but its weight decides what a head does."""
    hooked = head._forward_hooks or head._forward_pre_hooks
    return type(head) is nn.Linear and head.bias is None and not hooked


def _vocabulary(head: Any) -> int:
    return int(head.out_features) if hasattr(head, "out_features") else int(head.weight.shape[0])


def _entropy(head: nn.Module, rows: Tensor, targets: Tensor) -> Tensor:
    return cross_entropy(head(rows).float(), targets, reduction="sum")
