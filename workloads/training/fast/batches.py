"""From LLaMA-Factory's rows, packed or not, to one flat row for a whole batch, in which nothing is padding.

What is learnt stays as it was: the same tokens, positions and labels in the same batch. Two tokens see one another as
LLaMA-Factory has it: with ``neat_packing`` inside a document, with plain ``packing`` inside a packed row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from workloads.training.fast.attention import Documents

IGNORED = -100
"""The label of a token that is not learnt (``IGNORE_INDEX`` of LLaMA-Factory, the default of torch's loss)."""

Numbers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class FlatBatches:
    """The collator.

    Attributes:
        pad: the token that fills rows up.
        isolated: whether a row's attention mask numbers its documents (``neat_packing``).
    """

    pad: int
    isolated: bool

    def __call__(self, features: list[dict[str, Any]]) -> dict[str, Any]:
        """``input_ids``, ``position_ids`` and ``labels``, each 1 x tokens, and ``documents``."""
        rows = [self._row(feature) for feature in features]
        starts, learnt, begin = [0], [], 0
        for row in rows:
            starts += [begin + int(end) for end in row.ends]
            learnt.append(begin + np.flatnonzero(row.labels[1:] != IGNORED))  # the first token of a row has none before
            begin += len(row.tokens)
        labels = np.concatenate([row.labels for row in rows])
        places = np.concatenate(learnt)
        documents = Documents(
            torch.tensor(starts, dtype=torch.int32),
            int(np.diff(starts).max()),
            torch.from_numpy(places),
            torch.from_numpy(labels[places + 1]),
        )
        return {
            "input_ids": torch.from_numpy(np.concatenate([row.tokens for row in rows]))[None],
            "position_ids": torch.from_numpy(np.concatenate([row.positions for row in rows]))[None],
            "labels": torch.from_numpy(labels)[None],
            "documents": documents,
        }

    def _row(self, feature: dict[str, Any]) -> _Row:
        tokens, labels, mask = (
            np.asarray(feature[name], dtype=np.int64) for name in ("input_ids", "labels", "attention_mask")
        )
        real = np.flatnonzero(mask if self.isolated else self._before_padding(tokens, labels))
        end = int(real[-1]) + 1 if len(real) else 1
        tokens, labels, mask = tokens[:end], labels[:end], mask[:end]
        given = feature.get("position_ids")
        positions = np.arange(end) if given is None else np.asarray(given, dtype=np.int64)[:end]
        changes = np.flatnonzero(np.diff(mask)) + 1 if self.isolated else np.empty(0, dtype=np.int64)
        return _Row(tokens, labels, positions, np.append(changes, end))

    def _before_padding(self, tokens: Numbers, labels: Numbers) -> NDArray[np.bool_]:
        """Plain packing marks padding as if it were text; nothing is learnt from it, and nothing comes after it."""
        real: NDArray[np.bool_] = (tokens != self.pad) | (labels != IGNORED)
        return real


@dataclass(frozen=True, slots=True)
class _Row:
    tokens: Numbers
    labels: Numbers
    positions: Numbers
    ends: Numbers
