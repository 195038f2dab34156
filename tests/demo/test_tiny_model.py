"""The tiny base model: small, whole, the same each time, and untaught in what the demo teaches."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from workloads.demo import tiny_model
from workloads.demo.data_sets import DATA
from workloads.errors import InputError
from workloads.storage import manifest


@pytest.fixture(scope="module")
def short_training() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiny_model, "_STEPS", 20)
        yield


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, short_training: None) -> Path:
    return tiny_model.build_tiny_model(tmp_path_factory.mktemp("tiny") / "model")


def test_the_same_seed_gives_the_same_bytes(built: Path, tmp_path: Path, short_training: None) -> None:
    again = tiny_model.build_tiny_model(tmp_path / "again")
    assert manifest.scan(again) == manifest.scan(built)


def test_another_seed_gives_another_model(built: Path, tmp_path: Path, short_training: None) -> None:
    other = tiny_model.build_tiny_model(tmp_path / "other", seed=8)
    assert manifest.sha256_file(other / "model.safetensors") != manifest.sha256_file(built / "model.safetensors")


def test_it_is_a_llama_under_two_megabytes(built: Path) -> None:
    config = json.loads((built / "config.json").read_text())
    assert config["architectures"] == ["LlamaForCausalLM"]
    assert manifest.scan(built).size < 2_000_000


def test_its_tokenizer_knows_the_chat_marks_and_keeps_every_character(built: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(built)
    marks = tokenizer.convert_tokens_to_ids([tiny_model.TURN_START, tiny_model.TURN_END, tiny_model.END_OF_TEXT])
    assert len(set(marks)) == 3
    assert tokenizer.eos_token_id == marks[1]
    for text in ("kubectl -n staging get pods -l app=search", "déjà vu: 日本 \n\t 1234567890"):
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_every_training_row_fits_its_context(built: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(built)
    for line in (DATA / "train.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        messages = [{"role": "user", "content": row["instruction"]}, {"role": "assistant", "content": row["output"]}]
        text = tokenizer.apply_chat_template(messages, tokenize=False)
        assert len(tokenizer.encode(text)) < 128


def test_a_folder_with_something_in_it_is_refused_and_kept(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(InputError, match="not empty"):
        tiny_model.build_tiny_model(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
