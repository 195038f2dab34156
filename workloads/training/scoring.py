"""What a model makes of held-out data: loss, perplexity and whether it prefers the better answer.

The same code measures the base model and the trained one, so the two numbers can be compared.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

IGNORED = -100
"""The label of a token that is not learnt, as torch's cross entropy has it."""


def held_out_rows(tokenized: Path) -> list[dict[str, Any]]:
    """The rows of every held-out split that the prepare stage wrote; empty when there is none."""
    from datasets import load_from_disk

    splits = load_from_disk(str(tokenized))
    return [row for name, split in splits.items() if name != "train" for row in split]


def score(model: Any, rows: Sequence[dict[str, Any]], stage: str, batch_size: int = 8) -> dict[str, float]:
    """Metrics of ``model`` on tokenized rows, by training stage.

    Returns:
        ``loss`` (mean negative log-likelihood a label token, in nats) and ``perplexity`` for sft, pt and kto (there
        on the desirable answers); ``preference_accuracy`` (share of pairs ranked right) and ``loss`` of the chosen
        answers for dpo; ``preference_accuracy`` for rm.
    """
    if not rows:
        return {}
    if stage == "rm":
        better = [row["chosen_input_ids"] for row in rows], [row["rejected_input_ids"] for row in rows]
        chosen, rejected = (_rewards(model, each, batch_size) for each in better)
        return {"preference_accuracy": _share(chosen, rejected)}
    if stage == "dpo":
        chosen_sums = list(_log_likelihoods(model, _pairs(rows, "chosen_"), batch_size))
        rejected_sums = list(_log_likelihoods(model, _pairs(rows, "rejected_"), batch_size))
        # A token's mean, not the sum: otherwise the shorter answer wins whatever it says.
        means = ([total / max(count, 1) for total, count in sums] for sums in (chosen_sums, rejected_sums))
        return {**_loss(chosen_sums), "preference_accuracy": _share(*means)}
    if stage == "kto":
        rows = [row for row in rows if row["kto_tags"]]
    return _loss(_log_likelihoods(model, _pairs(rows, ""), batch_size))


def _pairs(rows: Iterable[dict[str, Any]], prefix: str) -> list[tuple[list[int], list[int]]]:
    # Pre-training data has no labels: every token is learnt.
    return [(row[f"{prefix}input_ids"], row.get(f"{prefix}labels", row[f"{prefix}input_ids"])) for row in rows]


def _loss(sums: Iterable[tuple[float, int]]) -> dict[str, float]:
    total, tokens = 0.0, 0
    for log_likelihood, count in sums:
        total -= log_likelihood
        tokens += count
    if not tokens:
        return {}
    loss = total / tokens
    return {"loss": loss, "perplexity": math.exp(min(loss, 700))}  # e**710 is past a double's range


def _share(better: Sequence[float], worse: Sequence[float]) -> float:
    return sum(b > w for b, w in zip(better, worse, strict=True)) / len(better)


def _batches(sequences: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    for start in range(0, len(sequences), size):
        yield sequences[start : start + size]


def _pad(sequences: Sequence[list[int]], value: int) -> torch.Tensor:
    tensors = [torch.tensor(each) for each in sequences]
    return torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True, padding_value=value)


@torch.inference_mode()  # type: ignore[untyped-decorator]  # torch is not followed by mypy
def _log_likelihoods(
    model: Any, pairs: Sequence[tuple[list[int], list[int]]], batch_size: int
) -> Iterator[tuple[float, int]]:
    """Sum of the label tokens' log-likelihoods and their number, a row."""
    for batch in _batches(pairs, batch_size):
        inputs = _pad([ids for ids, _ in batch], 0).to(model.device)
        labels = _pad([labels for _, labels in batch], IGNORED).to(model.device)
        attention = _pad([[1] * len(ids) for ids, _ in batch], 0).to(model.device)
        logits = model(input_ids=inputs, attention_mask=attention).logits[:, :-1].float()
        targets = labels[:, 1:]
        losses = torch.nn.functional.cross_entropy(
            logits.transpose(1, 2), targets, ignore_index=IGNORED, reduction="none"
        )
        counts = (targets != IGNORED).sum(dim=1)
        yield from zip((-losses.sum(dim=1)).tolist(), counts.tolist(), strict=True)


@torch.inference_mode()  # type: ignore[untyped-decorator]  # torch is not followed by mypy
def _rewards(model: Any, sequences: Sequence[list[int]], batch_size: int) -> list[float]:
    """The value head's output at the last token, a row."""
    found: list[float] = []
    for batch in _batches(sequences, batch_size):
        inputs = _pad(batch, 0).to(model.pretrained_model.device)
        attention = _pad([[1] * len(ids) for ids in batch], 0).to(inputs.device)
        # trl's value head returns (logits, loss, values of shape (rows, tokens))
        values = model(input_ids=inputs, attention_mask=attention)[2]
        last = attention.sum(dim=1) - 1
        found += values[torch.arange(len(batch), device=values.device), last].float().tolist()
    return found
