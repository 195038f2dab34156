"""Flat rows hold what LLaMA-Factory's rows hold: the same tokens, positions, labels, and who sees whom."""

from typing import Any

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads.training.fast.batches import IGNORED, FlatBatches

PAD = 0
lengths = st.lists(st.integers(1, 6), min_size=1, max_size=4)
packs = st.lists(lengths, min_size=1, max_size=4)
CUTOFF = 24
unhurried = settings(deadline=None, max_examples=50)
"""A machine under load is no failure."""


def _pack(documents: list[int], seed: int, neat: bool) -> dict[str, Any]:
    """A row as PackedSupervisedDatasetProcessor makes it; half of the tokens are learnt."""
    tokens, labels, mask, positions = [], [], [], []
    for number, length in enumerate(documents, start=1):
        these = [1 + (seed + number * 31 + place * 7) % 90 for place in range(length)]
        tokens += these
        labels += [token if token % 2 else IGNORED for token in these]
        mask += [number if neat else 1] * length
        positions += range(length)
    fill = CUTOFF + 1 - len(tokens)
    return {
        "input_ids": tokens + [PAD] * fill,
        "labels": labels + [IGNORED] * fill,
        "attention_mask": mask + [0 if neat else 1] * fill,
        "position_ids": positions + [0] * fill,
    }


@unhurried
@given(packs)
def test_a_flat_row_has_every_token_once_and_no_padding(drawn: list[list[int]]) -> None:
    rows = [_pack(documents, seed, neat=True) for seed, documents in enumerate(drawn)]
    batch = FlatBatches(PAD, isolated=True)(rows)
    total = sum(map(sum, drawn))
    for name in ("input_ids", "labels", "position_ids"):
        expected = [value for row, documents in zip(rows, drawn, strict=True) for value in row[name][: sum(documents)]]
        assert batch[name].tolist() == [expected]
        assert batch[name].dtype == torch.int64
    documents = batch["documents"]
    assert documents.starts.diff().tolist() == [length for each in drawn for length in each]
    assert (int(documents.starts[-1]), documents.longest) == (total, max(max(each) for each in drawn))
    assert documents.starts.dtype == torch.int32


@unhurried
@given(packs, st.booleans())
def test_what_is_learnt_is_what_a_shift_inside_each_row_learns(drawn: list[list[int]], neat: bool) -> None:
    rows = [_pack(documents, seed, neat) for seed, documents in enumerate(drawn)]
    batch = FlatBatches(PAD, isolated=neat)(rows)
    learnt = [
        (row["input_ids"][place], row["position_ids"][place], row["labels"][place + 1])
        for row in rows
        for place in range(CUTOFF)
        if row["labels"][place + 1] != IGNORED
    ]
    places, documents = batch["documents"].rows, batch["documents"]
    found = zip(
        batch["input_ids"][0, places].tolist(),
        batch["position_ids"][0, places].tolist(),
        documents.targets.tolist(),
        strict=True,
    )
    assert list(found) == learnt
    # The trainer divides by this count, the first token of a row among it.
    assert int(batch["labels"].ne(IGNORED).sum()) == sum(label != IGNORED for row in rows for label in row["labels"])


@unhurried
@given(packs)
def test_without_isolation_a_packed_row_is_one_document(drawn: list[list[int]]) -> None:
    rows = [_pack(documents, seed, neat=False) for seed, documents in enumerate(drawn)]
    batch = FlatBatches(PAD, isolated=False)(rows)
    assert batch["documents"].starts.diff().tolist() == [sum(documents) for documents in drawn]


@unhurried
@given(st.lists(st.integers(1, 9), min_size=1, max_size=4))
def test_rows_that_are_not_packed_are_documents(drawn: list[int]) -> None:
    rows = [
        {"input_ids": list(range(1, n + 1)), "labels": list(range(1, n + 1)), "attention_mask": [1] * n} for n in drawn
    ]
    batch = FlatBatches(PAD, isolated=False)(rows)
    assert batch["documents"].starts.diff().tolist() == drawn
    assert batch["position_ids"].tolist() == [[place for n in drawn for place in range(n)]]


def test_a_row_of_nothing_but_padding_keeps_one_token() -> None:
    batch = FlatBatches(PAD, isolated=True)([_pack([], 0, neat=True), _pack([3], 1, neat=True)])
    assert batch["documents"].starts.tolist() == [0, 1, 4]


def test_documents_go_to_a_device_whole() -> None:
    documents = FlatBatches(PAD, isolated=True)([_pack([3, 2], 1, neat=True)])["documents"]
    moved = documents.to("meta")
    assert {each.device.type for each in (moved.starts, moved.rows, moved.targets)} == {"meta"}
    assert moved.longest == documents.longest == 3
