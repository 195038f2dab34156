"""The demo's data sets, one small file for each kind of training, and the held-out questions.

They are committed; ``scripts/make_demo_data.py`` writes them again and a test holds the two together.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

from workloads.demo.corpus import documents
from workloads.demo.language import INTENTS, Exchange, exchanges

DATA = Path(__file__).parent / "data"
Row = dict[str, Any]
_ALPACA = {"prompt": "instruction", "query": "input", "response": "output"}
_RANKED = {"prompt": "instruction", "query": "input", "chosen": "chosen", "rejected": "rejected"}
_TRAIN_SEED, _HELD_OUT_SEED, _QUESTION_SEED, _SMALL_SEED, _TEXT_SEED = 1, 2, 3, 4, 5
_SMALL = 48
"""Rows of the sets that only show a kind of training."""


def unique(made: Iterator[Exchange]) -> Iterator[Exchange]:
    """The exchanges without repeated questions."""
    seen: set[str] = set()
    for one in made:
        if one.question not in seen:
            seen.add(one.question)
            yield one


def wrong_answer(right: Exchange) -> str:
    """A command that does something else to the right service."""
    other = INTENTS[(INTENTS.index(right.intent) + 1) % len(INTENTS)]
    return right.answer_to(other)


def _alpaca(one: Exchange) -> Row:
    return {"instruction": one.question, "input": "", "output": one.answer}


def _ranked(one: Exchange) -> Row:
    return {"instruction": one.question, "input": "", "chosen": one.answer, "rejected": wrong_answer(one)}


def _judged(one: Exchange) -> Row:
    good = INTENTS.index(one.intent) % 2 == 0
    return {
        "instruction": one.question,
        "input": "",
        "output": one.answer if good else wrong_answer(one),
        "label": good,
    }


def _question(one: Exchange) -> Row:
    return {"question": one.question, "answer": one.answer, "category": one.intent.name}


def _conversations() -> Iterator[Row]:
    """Two requests in one conversation each."""
    for first, second in islice(pairwise(unique(exchanges(_SMALL_SEED))), 0, 2 * _SMALL, 2):
        turns = (("human", first.question), ("gpt", first.answer), ("human", second.question), ("gpt", second.answer))
        yield {"conversations": [{"from": who, "value": text} for who, text in turns]}


def _rows(seed: int, count: int, shape: Callable[[Exchange], Row], *, held_out: bool = False) -> list[Row]:
    return [shape(one) for one in islice(unique(exchanges(seed, held_out=held_out)), count)]


def files() -> dict[str, list[Row]]:
    """Every data file's rows, by file name."""
    return {
        "train.jsonl": _rows(_TRAIN_SEED, 1200, _alpaca),
        "held_out.jsonl": _rows(_HELD_OUT_SEED, 64, _alpaca, held_out=True),
        "questions.jsonl": _rows(_QUESTION_SEED, 64, _question, held_out=True),
        "preferences.jsonl": _rows(_SMALL_SEED, _SMALL, _ranked),
        "judged.jsonl": _rows(_SMALL_SEED, _SMALL, _judged),
        "conversations.jsonl": list(_conversations()),
        "text.jsonl": [{"text": text} for text in islice(documents(_TEXT_SEED), _SMALL)],
    }


DATASET_INFO: dict[str, Any] = {
    "demo_train": {"file_name": "train.jsonl", "columns": _ALPACA},
    "demo_held_out": {"file_name": "held_out.jsonl", "columns": _ALPACA},
    "demo_preferences": {"file_name": "preferences.jsonl", "ranking": True, "columns": _RANKED},
    "demo_judged": {"file_name": "judged.jsonl", "columns": {**_ALPACA, "kto_tag": "label"}},
    "demo_conversations": {
        "file_name": "conversations.jsonl",
        "formatting": "sharegpt",
        "columns": {"messages": "conversations"},
    },
    "demo_text": {"file_name": "text.jsonl", "columns": {"prompt": "text"}},
}
"""The entries of LLaMA-Factory's ``dataset_info.json``."""


def write(folder: Path) -> None:
    """Writes every data file and ``dataset_info.json`` into ``folder``."""
    for name, rows in files().items():
        _write(folder / name, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    _write(folder / "dataset_info.json", json.dumps(DATASET_INFO, indent=2) + "\n")


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")
