from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest


def test_a_deepspeed_config_is_found_beside_the_config_or_in_the_working_directory(
    check: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    for folder in (tmp_path, work):
        (folder / "ds.json").write_text("{}", encoding="utf-8")
        assert check({"deepspeed": "ds.json"}) == []
        (folder / "ds.json").unlink()
    (problem,) = check({"deepspeed": "ds.json"})
    assert problem.code == "missing-file"


def test_the_working_directory_comes_first(check: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    (tmp_path / "ds.json").write_text('{"zero_optimization": {"stage": 3}}', encoding="utf-8")
    (work / "ds.json").write_text('{"zero_optimization": {"stage": 2}}', encoding="utf-8")
    assert check({"deepspeed": "ds.json", "pure_bf16": True}) == []


def test_a_missing_file_suggests_its_neighbour(check: Any, tmp_path: Path) -> None:
    (tmp_path / "zero3.json").write_text("{}", encoding="utf-8")
    (problem,) = check({"deepspeed": "zero_3.json"})
    assert problem.suggestion == "zero3.json"


@pytest.mark.parametrize(
    ("key", "value", "code"),
    [
        ("deepspeed", "{not json", "syntax"),
        ("deepspeed", "bad.json", "syntax"),
        ("deepspeed", "list.json", "syntax"),
        ("deepspeed", "folder", "missing-file"),
        ("fsdp_config", "none.json", "missing-file"),
        ("lr_scheduler_kwargs", "fast", "wrong-type"),
        ("vllm_config", "{", "syntax"),
        ("new_special_tokens_config", "none.yaml", "missing-file"),
    ],
)
def test_files_and_texts_that_cannot_be_used(check: Any, tmp_path: Path, key: str, value: str, code: str) -> None:
    (tmp_path / "bad.json").write_text("{", encoding="utf-8")
    (tmp_path / "list.json").write_text("[]", encoding="utf-8")
    (tmp_path / "folder").mkdir()
    assert [(problem.key, problem.code) for problem in check({key: value, "pure_bf16": True})] == [(key, code)]


MODEL = {"max_position_embeddings": 512}


@pytest.mark.parametrize(
    ("changes", "model", "codes"),
    [
        ({"cutoff_len": 512}, MODEL, []),
        ({"cutoff_len": 513}, MODEL, ["cutoff-len"]),
        ({}, MODEL, ["warn-cutoff-len"]),
        ({"cutoff_len": 1024, "rope_scaling": "dynamic"}, MODEL, []),
        ({"cutoff_len": 1024}, {"text_config": MODEL}, ["cutoff-len"]),
        ({"cutoff_len": 1024}, {}, []),
        ({"cutoff_len": "long"}, MODEL, ["wrong-type"]),
    ],
)
def test_the_length_that_the_model_reads(check: Any, changes: dict[str, Any], model: Any, codes: list[str]) -> None:
    assert [problem.code for problem in check(changes, model_config=model)] == codes


QUANTIZED = {"quantization_config": {"quant_method": "awq"}}


@pytest.mark.parametrize(
    ("changes", "model", "keys"),
    [
        ({}, QUANTIZED, []),
        ({"finetuning_type": "full"}, QUANTIZED, ["finetuning_type"]),
        ({"finetuning_type": "full"}, {"quantization_config": {"quant_method": "mxfp4"}}, []),
        ({"do_train": None, "export_dir": "out", "adapter_name_or_path": "a"}, QUANTIZED, ["export_dir"]),
        ({"deepspeed": {"zero_optimization": {"stage": 3}}}, QUANTIZED, ["deepspeed"]),
    ],
)
def test_a_base_model_that_is_quantized(check: Any, changes: dict[str, Any], model: Any, keys: list[str]) -> None:
    assert [problem.key for problem in check(changes, model_config=model)] == keys


def test_the_config_of_a_local_model_is_read(check: Any, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text(json.dumps(MODEL), encoding="utf-8")
    assert [problem.key for problem in check({"model_name_or_path": "model", "cutoff_len": 1024})] == ["cutoff_len"]
    (tmp_path / "model" / "config.json").write_text("{", encoding="utf-8")
    assert check({"model_name_or_path": "model", "cutoff_len": 1024}) == []
