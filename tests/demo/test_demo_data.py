"""The demo's data: committed as generated, and honest about what is held out."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workloads.demo import data_sets
from workloads.demo.corpus import documents
from workloads.demo.language import HELD_OUT, INTENTS, KNOWN, NAMESPACES, SERVICES, exchanges

TRAINING_FILES = ("train.jsonl", "preferences.jsonl", "judged.jsonl", "conversations.jsonl", "text.jsonl")


def rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (data_sets.DATA / name).read_text(encoding="utf-8").splitlines()]


def mentions_held_out(text: str) -> bool:
    words = set(text.replace("/", " ").replace("=", " ").replace(".", " ").replace(",", " ").replace("?", " ").split())
    return any(service in words and namespace in words for service, namespace in HELD_OUT)


def test_committed_files_are_what_the_generator_makes(tmp_path: Path) -> None:
    data_sets.write(tmp_path)
    made = {path.name: path.read_text(encoding="utf-8") for path in tmp_path.iterdir()}
    committed = {path.name: path.read_text(encoding="utf-8") for path in data_sets.DATA.iterdir()}
    assert made == committed, "run: python scripts/make_demo_data.py"


def test_no_training_text_has_a_held_out_pair() -> None:
    single_pair = [json.dumps(row) for name in TRAINING_FILES if name != "conversations.jsonl" for row in rows(name)]
    turns = [turn["value"] for row in rows("conversations.jsonl") for turn in row["conversations"]]
    assert not [text for text in single_pair + turns if mentions_held_out(text)]


def test_no_pre_training_document_has_a_held_out_pair() -> None:
    assert not [text for text in islice(documents(7), 5000) if mentions_held_out(text)]


def test_every_question_is_about_a_held_out_pair_and_each_once() -> None:
    questions = rows("questions.jsonl")
    assert all(mentions_held_out(row["question"]) and mentions_held_out(row["answer"]) for row in questions)
    assert len({row["question"] for row in questions}) == len(questions) == 64


def test_questions_cover_every_intent() -> None:
    assert {row["category"] for row in rows("questions.jsonl")} == {intent.name for intent in INTENTS}


def test_held_out_pairs_leave_each_word_to_be_learnt() -> None:
    assert {service for service, _ in KNOWN} == set(SERVICES)
    assert {namespace for _, namespace in KNOWN} == set(NAMESPACES)


def test_judged_rows_have_both_labels() -> None:
    assert {row["label"] for row in rows("judged.jsonl")} == {True, False}


@given(seed=st.integers(0, 2**32), held_out=st.booleans())
def test_a_request_names_its_service_and_namespace_and_so_does_the_answer(seed: int, held_out: bool) -> None:
    for one in islice(exchanges(seed, held_out=held_out), len(INTENTS)):
        assert ((one.service, one.namespace) in HELD_OUT) is held_out
        for word in (one.service, one.namespace):
            assert word in one.question
            assert word in one.answer


@given(seed=st.integers(0, 2**32))
def test_a_wrong_answer_is_wrong_and_about_the_same_service(seed: int) -> None:
    for one in islice(exchanges(seed), len(INTENTS)):
        wrong = data_sets.wrong_answer(one)
        assert wrong != one.answer
        assert one.service in wrong


@pytest.mark.parametrize("name", sorted(data_sets.DATASET_INFO))
def test_every_registered_file_has_the_registered_columns(name: str) -> None:
    entry = data_sets.DATASET_INFO[name]
    present = rows(entry["file_name"])
    assert all(column in row for row in present for column in entry["columns"].values())
