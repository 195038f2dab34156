from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from workloads.errors import InputError, Problem
from workloads.training_config import LoadedConfig, find_datasets
from workloads.training_config.data_rows import MAX_REPORTED

ROW = {"instruction": "a", "input": "", "output": "b"}
Data = Callable[..., list[Problem]]


@pytest.fixture
def data(check: Any, tmp_path: Path) -> Data:
    """Checks a config on a data set: its entry, its rows, changes of the config."""

    def run(entry: Any, rows: Any = (ROW,), changes: dict[str, Any] | None = None, **options: Any) -> list[Problem]:
        folder = tmp_path / "data"
        folder.mkdir(exist_ok=True)
        text = rows if isinstance(rows, str) else json.dumps(list(rows), indent=1)
        (folder / "rows.json").write_text(text, encoding="utf-8")
        (folder / "dataset_info.json").write_text(json.dumps({"other": {}, "mine": entry}, indent=1), encoding="utf-8")
        problems: list[Problem] = check(changes, data=True, **options)
        return problems

    return run


def test_a_good_data_set(data: Data) -> None:
    assert data({"file_name": "rows.json"}) == []


def test_malformed_rows_are_named_with_row_and_line(data: Data, tmp_path: Path) -> None:
    problems = data({"file_name": "rows.json"}, [ROW, {**ROW, "output": 5}, ROW, ["a"]])
    assert [(problem.row, problem.line, problem.key) for problem in problems] == [(2, 7, "output"), (4, 17, None)]
    assert {problem.file for problem in problems} == {str(tmp_path / "data" / "rows.json")}


def test_many_malformed_rows_are_counted(data: Data) -> None:
    problems = data({"file_name": "rows.json"}, [ROW, *[{**ROW, "output": None}] * (MAX_REPORTED + 3)])
    assert len(problems) == MAX_REPORTED + 1
    assert problems[-1].message == "This row and 2 more are malformed: 23 of 24 in all."


def test_a_column_that_no_row_has_is_one_problem(data: Data) -> None:
    rows = [{"instruction": "a", "outputs": "b"}] * 3
    assert [(problem.key, problem.suggestion, problem.code) for problem in data({"file_name": "rows.json"}, rows)] == [
        ("input", None, "missing-column"),
        ("output", "outputs", "missing-column"),
    ]


@pytest.mark.parametrize(
    ("entry", "code", "words"),
    [
        ("rows.json", "dataset-entry", "no object"),
        ({}, "dataset-entry", "names no file"),
        ({"file_nmae": "rows.json"}, "warn-dataset-key", "file_nmae"),
        ({"file_name": "rows.json", "formating": "alpaca"}, "warn-dataset-key", "formating"),
        ({"file_name": "rows.json", "formatting": "sharegtp"}, "dataset-entry", "no format"),
        ({"file_name": "rows.json", "columns": {"promt": "a"}}, "dataset-entry", "'promt'"),
        ({"file_name": "rows.json", "tags": {"role": "a"}}, "dataset-entry", "'role'"),
        ({"file_name": "rows.json", "columns": ["a"]}, "dataset-entry", "no object of names"),
        ({"file_name": "row.json"}, "missing-file", "no data file"),
        ({"file_name": "rows.xml"}, "missing-file", "no data file"),
        ({"file_name": "dataset_info.json/.."}, "missing-file", "no data file"),
        ({"file_name": "rows.json", "ranking": True}, "dataset-stage", "ranked"),
    ],
)
def test_entries_that_are_wrong(data: Data, entry: Any, code: str, words: str) -> None:
    problems = [problem for problem in data(entry) if problem.code == code]
    assert any(words in problem.message for problem in problems), problems
    assert {(problem.key, problem.line) for problem in problems} == {("mine", 3)}


@pytest.mark.parametrize(
    ("stage", "entry", "codes"),
    [
        ("dpo", {"file_name": "rows.json"}, ["dataset-stage"]),
        ("rm", {"file_name": "rows.json"}, ["dataset-stage"]),
        ("kto", {"file_name": "rows.json"}, ["dataset-stage"]),
        ("pt", {"file_name": "rows.json", "columns": {"prompt": "instruction"}}, []),
    ],
)
def test_data_must_suit_the_stage(data: Data, stage: str, entry: Any, codes: list[str]) -> None:
    assert [problem.code for problem in data(entry, changes={"stage": stage})] == codes


def test_a_name_that_is_not_registered(data: Data) -> None:
    (problem,) = data({"file_name": "rows.json"}, changes={"dataset": "mien", "eval_dataset": "mine"})
    assert (problem.key, problem.code, problem.suggestion, problem.line) == ("dataset", "unknown-dataset", "mine", 4)


@pytest.mark.parametrize("text", ["{", "[1]", ""])
def test_a_register_that_cannot_be_read(data: Data, tmp_path: Path, check: Any, text: str) -> None:
    data({"file_name": "rows.json"})
    (tmp_path / "data" / "dataset_info.json").write_text(text, encoding="utf-8")
    (problem,) = check(data=True)
    assert (problem.file, problem.code) == (str(tmp_path / "data" / "dataset_info.json"), "syntax")


def test_no_register(check: Any) -> None:
    (problem,) = check({"dataset_dir": "elsewhere"}, data=True)
    assert (problem.key, problem.code) == ("dataset_dir", "missing-file")


@pytest.mark.parametrize("rows", ["[]", "{", "5"])
def test_files_without_rows(data: Data, rows: str) -> None:
    assert [problem.code for problem in data({"file_name": "rows.json"}, rows)] == ["malformed-data"]


def test_a_folder_of_files(data: Data, tmp_path: Path) -> None:
    parts = tmp_path / "data" / "parts"
    parts.mkdir(parents=True)
    (parts / "b.jsonl").write_text(json.dumps(ROW), encoding="utf-8")
    (parts / "a.jsonl").write_text(json.dumps({**ROW, "output": 1}), encoding="utf-8")
    assert [(problem.file, problem.row) for problem in data({"file_name": "parts"})] == [(str(parts / "a.jsonl"), 1)]
    (parts / "c.txt").write_text("a", encoding="utf-8")
    assert [problem.code for problem in data({"file_name": "parts"})] == ["file-type"]


def test_files_of_a_kind_that_is_not_read_are_only_looked_for(data: Data, tmp_path: Path) -> None:
    data({"file_name": "rows.json"})
    (tmp_path / "data" / "rows.parquet").write_bytes(b"PAR1")
    assert data({"file_name": "rows.parquet"}) == []


def test_words_for_true_and_false_in_csv(data: Data, tmp_path: Path) -> None:
    data({"file_name": "rows.json"})
    entry = {"file_name": "rows.csv", "columns": {"prompt": "q", "response": "a", "kto_tag": "good"}}
    (tmp_path / "data" / "rows.csv").write_text("q,a,good\n1,b,True\n2,c,false\n3,d,maybe\n", encoding="utf-8")
    assert [(problem.row, problem.key) for problem in data(entry, changes={"stage": "kto"})] == [(3, "good")]


def test_answers_are_not_needed_where_they_are_generated(data: Data) -> None:
    rows = [{"instruction": "a", "input": "", "output": "b"}, {"instruction": "a", "input": "", "output": None}]
    predict = {"do_train": None, "dataset": None, "do_predict": True, "predict_with_generate": True}
    assert data({"file_name": "rows.json"}, rows, {**predict, "eval_dataset": "mine"}) == []


def test_tokenized_data_is_read_in_place_of_the_files_but_not_by_a_run(data: Data, tmp_path: Path) -> None:
    (tmp_path / "tokenized").mkdir()
    changes = {"tokenized_path": "tokenized", "dataset": "none"}
    assert data({"file_name": "rows.json"}, changes=changes) == []
    assert [problem.code for problem in data({"file_name": "rows.json"}, changes=changes, in_run=True)] == [
        "unknown-dataset"
    ]


@pytest.mark.parametrize(
    "entry",
    [
        {"script_url": "a"},
        {"ms_hub_url": "a/b"},
        {"ms_hub_url": "a/b", "cloud_file_name": "gs://a/b.jsonl"},
        {"hf_hub_url": "../b"},
        {"hf_hub_url": "a/b/c"},
        {"cloud_file_name": "s3://a/b.jsonl"},
        {"cloud_file_name": "gs://bucket"},
        {"cloud_file_name": "gs://bucket/rows.zip"},
    ],
)
def test_what_a_run_cannot_bring_is_for_plain_llamafactory_only(data: Data, entry: Any) -> None:
    assert data(entry) == []
    assert [problem.key for problem in data(entry, in_run=True)] == ["mine"]


@pytest.mark.parametrize(
    ("entry", "source"),
    [
        ({"hf_hub_url": "acme/rows"}, "acme/rows"),
        ({"hf_hub_url": "rows", "ms_hub_url": "x/y", "file_name": "rows.json"}, "rows"),
        ({"cloud_file_name": "gs://bucket/folder/rows.jsonl"}, "gs://bucket/folder/rows.jsonl"),
    ],
)
def test_a_run_brings_data_from_the_hub_and_from_cloud_storage(
    data: Data, entry: Any, source: str, tmp_path: Path
) -> None:
    assert data(entry, in_run=True) == []
    (tmp_path / "data" / "dataset_info.json").write_text(json.dumps({"mine": entry}), encoding="utf-8")
    config = LoadedConfig(tmp_path / "c.yaml", {"dataset": "mine", "dataset_dir": "data"}, {})
    (found,) = find_datasets(config, tmp_path)
    assert (found.source, found.files, found.in_hub) == (source, (), "hf_hub_url" in entry)


def test_data_that_a_run_brings_must_suit_the_stage(data: Data) -> None:
    assert [problem.code for problem in data({"hf_hub_url": "a/b", "ranking": True}, in_run=True)] == ["dataset-stage"]


@pytest.mark.parametrize("folder", ["ONLINE", "REMOTE:a/b"])
def test_a_register_that_is_elsewhere(check: Any, folder: str) -> None:
    assert check({"dataset_dir": folder}, data=True) == []
    assert [problem.code for problem in check({"dataset_dir": folder}, data=True, in_run=True)] == ["dataset-not-local"]


def test_find_datasets(data: Data, tmp_path: Path) -> None:
    data({"file_name": "rows.json"})
    info = tmp_path / "data" / "dataset_info.json"
    info.write_text(json.dumps({"a": {"file_name": "rows.json"}, "b": {"file_name": "rows.json"}}), encoding="utf-8")
    config = LoadedConfig(tmp_path / "c.yaml", {"dataset": "a", "eval_dataset": ["b", "a"]}, {})
    found = {each.name: each for each in find_datasets(config, tmp_path)}
    assert {name: each.split for name, each in found.items()} == {"a": "train", "b": "eval"}
    assert found["a"].files == (tmp_path / "data" / "rows.json",)
    assert found["a"].entry == {"file_name": "rows.json"}
    assert found["a"].info_path == info


@pytest.mark.parametrize(("values", "code"), [({}, "missing-key"), ({"dataset": "c"}, "unknown-dataset")])
def test_find_datasets_refuses_what_is_not_there(data: Data, tmp_path: Path, values: dict[str, Any], code: str) -> None:
    data({"file_name": "rows.json"})
    with pytest.raises(InputError) as caught:
        find_datasets(LoadedConfig(tmp_path / "c.yaml", values, {}), tmp_path)
    assert [problem.code for problem in caught.value.problems] == [code]
