from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workloads.errors import InputError
from workloads.training_config.data_rows import MAX_REPORTED, Rows, read_rows


def rows(tmp_path: Path, name: str, text: str) -> Rows:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return read_rows(path)


@pytest.mark.parametrize(
    ("name", "text", "values", "lines"),
    [
        ("a.json", '[{"a": 1},\n{"a":\n2},\n\n {"a": 3}]', [{"a": 1}, {"a": 2}, {"a": 3}], [1, 2, 5]),
        ("a.json", '\n\n[\n{"a": "[\\n"}, 5]', [{"a": "[\n"}, 5], [4, 4]),
        ("a.json", '{"a": 1}\n{"a": 2}\n', [{"a": 1}, {"a": 2}], [1, 2]),
        ("a.json", '{"a": 1}', [{"a": 1}], [1]),
        ("a.json", "[]", [], []),
        ("a.jsonl", '{"a": 1}\n\n{"a": 2}\n', [{"a": 1}, {"a": 2}], [1, 3]),
        ("a.csv", 'a,b\n1,"x\ny"\n2,\n', [{"a": "1", "b": "x\ny"}, {"a": "2", "b": None}], [2, 4]),
        ("a.txt", "one\n\ntwo\n", [{"text": "one"}, {"text": ""}, {"text": "two"}], [1, 2, 3]),
        ("a.txt", "", [], []),
    ],
)
def test_rows_and_their_lines(tmp_path: Path, name: str, text: str, values: list[object], lines: list[int]) -> None:
    found = rows(tmp_path, name, text)
    assert found.values == values
    assert [found.line_of(index) for index in range(len(values))] == lines


@pytest.mark.parametrize(
    ("name", "text", "line", "row"),
    [
        ("a.json", '[{"a": 1},\n{"a": }]', 2, None),
        ("a.json", '[{"a": 1}] {"a": 2}', 1, None),
        ("a.json", "5", 1, None),
        ("a.json", "[" * 100_000, None, None),
        ("a.json", "", 1, None),
        ("a.jsonl", '{"a": 1}\n\n{"a": \n', 3, 2),
        ("a.csv", "a,b\n1,2\n1,2,3\n", 3, None),
    ],
)
def test_what_cannot_be_read(tmp_path: Path, name: str, text: str, line: int | None, row: int | None) -> None:
    with pytest.raises(InputError) as caught:
        rows(tmp_path, name, text)
    (problem,) = caught.value.problems
    assert (problem.file, problem.line, problem.row) == (str(tmp_path / name), line, row)


def test_every_bad_line_is_named_up_to_a_limit(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        rows(tmp_path, "a.jsonl", "{\n" * (MAX_REPORTED + 5))
    assert [problem.line for problem in caught.value.problems] == list(range(1, MAX_REPORTED + 1))


def test_bytes_that_are_not_utf8_are_found_by_line(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"a": 1}\n{"a": "\xff"}\n')
    with pytest.raises(InputError) as caught:
        read_rows(path)
    assert caught.value.problems[0].line == 2


def test_a_folder_is_no_data_file(tmp_path: Path) -> None:
    (tmp_path / "a.json").mkdir()
    with pytest.raises(InputError, match="cannot be read"):
        read_rows(tmp_path / "a.json")


@given(
    st.lists(
        st.dictionaries(st.text(max_size=3), st.text(max_size=5) | st.lists(st.integers(), max_size=2), max_size=2)
    ),
    st.sampled_from([None, 0, 2]),
)
def test_each_row_begins_on_its_line(
    tmp_path_factory: pytest.TempPathFactory, values: list[dict[str, object]], indent: int | None
) -> None:
    path = tmp_path_factory.getbasetemp() / "rows.json"
    text = "[" + ",\n".join(json.dumps(value, indent=indent) for value in values) + "]"
    path.write_text(text, encoding="utf-8")
    found = read_rows(path)
    assert found.values == values
    lines = text.split("\n")
    for index in range(len(values)):
        assert "{" in lines[found.line_of(index) - 1]
    heights = [json.dumps(value, indent=indent).count("\n") + 1 for value in values]
    assert [found.line_of(index) for index in range(len(values))] == [1 + sum(heights[:n]) for n in range(len(values))]
