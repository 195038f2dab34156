"""Reads the rows of a data file, and knows on which line each begins."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from workloads.errors import InputError, Problem

READABLE = frozenset({"json", "jsonl", "csv", "txt"})
"""The kinds of file whose rows can be looked at; parquet and arrow files are only looked for."""

KINDS = {"arrow": "arrow", "csv": "csv", "json": "json", "jsonl": "json", "parquet": "parquet", "txt": "text"}
"""File name extension to the loader that LLaMA-Factory takes for it (extras/constants.py)."""

MAX_REPORTED = 20
"""Rows that are named one by one; beyond, only their number is."""


@dataclass(frozen=True)
class Rows:
    """The rows of one file.

    Attributes:
        values: what each row holds: a mapping of column to value, or something else that is wrong.
        line_of: index of a row, from 0, to the line on which it begins, from 1.
    """

    values: list[Any]
    line_of: Callable[[int], int]


def read_rows(path: Path) -> Rows:
    """Reads a file whose extension is in `READABLE`.

    Raises:
        InputError: it cannot be read as what its extension says; with the line where one is known.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        line = path.read_bytes().count(b"\n", 0, error.start) + 1
        raise _error(path, "This is not UTF-8.", "save the file as UTF-8", line) from None
    except OSError as error:
        raise _error(path, f"The file cannot be read: {error.strerror}.", "make it readable", None) from None
    if path.suffix == ".csv":
        return _read_csv(path, text)
    if path.suffix == ".txt":
        lines = text.removesuffix("\n").split("\n") if text else []
        return Rows([{"text": line} for line in lines], lambda index: index + 1)
    return _read_json_lines(path, text) if path.suffix == ".jsonl" else _read_json(path, text)


def _read_json(path: Path, text: str) -> Rows:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        # The loader of LLaMA-Factory takes JSON lines under this name too.
        if error.msg == "Extra data" and text.lstrip().startswith("{"):
            return _read_json_lines(path, text)
        raise _error(path, f"This is not valid JSON: {error.msg}.", "correct the line", error.lineno) from None
    except RecursionError:
        raise _error(path, "This is nested too deeply.", "write a list of rows", None) from None
    if isinstance(value, dict):
        return Rows([value], lambda _: 1)
    if not isinstance(value, list):
        raise _error(path, "The file holds no list of rows.", 'write [{"instruction": ...}, ...]', 1)

    @cache
    def starts() -> list[int]:
        decoder, found, position, line = json.JSONDecoder(), [], text.index("[") + 1, 1
        counted = 0
        for _ in value:
            while text[position] in " \t\r\n,":
                position += 1
            line += text.count("\n", counted, position)
            counted = position
            found.append(line)
            position = decoder.raw_decode(text, position)[1]
        return found

    return Rows(value, lambda index: starts()[index])


def _read_json_lines(path: Path, text: str) -> Rows:
    values: list[Any] = []
    lines: list[int] = []
    problems: list[Problem] = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        lines.append(number)
        try:
            values.append(json.loads(line))
        except (json.JSONDecodeError, RecursionError) as error:
            what = error.msg if isinstance(error, json.JSONDecodeError) else "nested too deeply"
            problems.append(
                Problem(
                    f"This line is not valid JSON: {what}.",
                    "write one JSON object on each line",
                    file=str(path),
                    line=number,
                    row=len(lines),
                    code="malformed-row",
                )
            )
            if len(problems) == MAX_REPORTED:
                break
    if problems:
        raise InputError(problems)
    return Rows(values, lambda index: lines[index])


def _read_csv(path: Path, text: str) -> Rows:
    reader = csv.DictReader(io.StringIO(text))
    values: list[Any] = []
    ends = [1]
    try:
        for row in reader:
            # An empty cell is a missing value to the loader of LLaMA-Factory.
            values.append({key: value or None for key, value in row.items()})
            ends.append(reader.line_num)
    except csv.Error as error:
        raise _error(path, f"This is not valid CSV: {error}.", "correct the line", reader.line_num) from None
    for index, row in enumerate(values):
        if None in row:
            raise _error(
                path, "This row has more cells than the header.", "put text with commas in quotes", ends[index] + 1
            )
    return Rows(values, lambda index: ends[index] + 1)


def _error(path: Path, message: str, fix: str, line: int | None) -> InputError:
    return InputError(Problem(message, fix, file=str(path), line=line, code="malformed-data"))
