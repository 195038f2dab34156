from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from workloads.errors import InputError, Problem
from workloads.training_config import LoadedConfig, load_config
from workloads.training_config.loader import parse_value


def load(tmp_path: Path, text: str | bytes, name: str = "config.yaml") -> LoadedConfig:
    path = tmp_path / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return load_config(path)


def refused(tmp_path: Path, text: str | bytes, name: str = "config.yaml") -> tuple[Problem, ...]:
    with pytest.raises(InputError) as caught:
        load(tmp_path, text, name)
    return caught.value.problems


def test_values_and_lines(tmp_path: Path) -> None:
    config = load(tmp_path, "# about\nstage: sft\n\nlearning_rate: 1e-4\nfsdp_config:\n  xla: true\n")
    assert config.values == {"stage": "sft", "learning_rate": 1e-4, "fsdp_config": {"xla": True}}
    assert config.lines == {"stage": 2, "learning_rate": 4, "fsdp_config": 5}


@given(
    st.from_regex(r"[-+]?[0-9_]{0,3}\.?[0-9_]{0,3}([eE][-+]?[0-9]{1,2})?", fullmatch=True)
    | st.sampled_from(
        ["yes", "off", "null", "~", "2024-01-01", "0x1f", "017", "1:30", ".inf", ".nan", "none", "1e5", "1_0e2"]
    )
)
def test_scalars_are_read_as_llamafactory_reads_them(text: str) -> None:
    expected = OmegaConf.to_container(OmegaConf.from_dotlist([f"value={text}"]))
    assert isinstance(expected, dict)
    found = parse_value(text)
    assert repr(found) == repr(expected["value"])


@pytest.mark.parametrize(
    ("text", "line"),
    [("stage: sft\nstage: dpo\n", 2), ("a:\n  b: 1\n  c: 2\n  b: 3\n", 4), ("a: [{b: 1, b: 2}]\n", 1)],
)
def test_a_repeated_key_is_refused(tmp_path: Path, text: str, line: int) -> None:
    (problem,) = refused(tmp_path, text)
    assert (problem.code, problem.line) == ("repeated-key", line)


def test_a_merge_may_give_a_key_again(tmp_path: Path) -> None:
    assert load(tmp_path, "a: &a {x: 1}\nb: {<<: *a, x: 2}\n").values["b"] == {"x": 2}


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("stage: sft\n\tlora_rank: 8\n", 2),
        ("stage: sft\nlora_target: [q_proj\n", 3),
        ("stage: sft\ndataset: a: b\n", 2),
        ("stage: !!python/object:os.system x\n", 1),
        ("a: &a [*a]\n", 1),
        ("- sft\n", None),
        ("", None),
        ("{}", None),
        ("just words", None),
        ("a: 1\n---\nb: 2\n", 2),
    ],
)
def test_what_is_no_config_is_refused_with_its_line(tmp_path: Path, text: str, line: int | None) -> None:
    (problem,) = refused(tmp_path, text)
    assert (problem.code, problem.line) == ("syntax", line)
    assert problem.file == str(tmp_path / "config.yaml")


def test_a_name_that_yaml_reads_as_something_else_is_refused(tmp_path: Path) -> None:
    problems = refused(tmp_path, "stage: sft\n1: a\n")
    assert [problem.message for problem in problems] == ["1 is not a name: YAML reads it as a int."]


def test_many_aliases_of_one_mapping_are_read_quickly(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x]"] + [f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 40)]
    assert len(load(tmp_path, "\n".join(lines)).values) == 40


def test_json(tmp_path: Path) -> None:
    config = load(tmp_path, '{\n "stage": "sft",\n "learning_rate": 1e-4\n}', "config.json")
    assert config.values == {"stage": "sft", "learning_rate": 1e-4}
    assert config.lines == {"stage": 2, "learning_rate": 3}


@pytest.mark.parametrize(
    ("text", "code", "line"),
    [
        ('{\n "stage": sft\n}', "syntax", 2),
        ('{"stage": "a",\n "stage": "b"}', "repeated-key", 1),
        ("[1]", "syntax", None),
        ("{}", "syntax", None),
        ("[" * 100_000, "syntax", None),
    ],
)
def test_bad_json(tmp_path: Path, text: str, code: str, line: int | None) -> None:
    (problem,) = refused(tmp_path, text, "config.json")
    assert (problem.code, problem.line) == (code, line)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("stage: sft", encoding="utf-8")
    for path, words in (
        (tmp_path / "confg.yaml", "no such file"),
        (tmp_path / "none" / "config.yaml", "no such file"),
        (tmp_path, "cannot be read"),
    ):
        with pytest.raises(InputError, match=words):
            load_config(path)
    with pytest.raises(InputError) as caught:
        load_config(tmp_path / "confg.yaml")
    assert caught.value.problems[0].suggestion == "config.yaml"
    (problem,) = refused(tmp_path, b"stage: \xff\xfe")
    assert "not UTF-8" in problem.message


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path: Any = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_text(text, encoding="utf-8")
    try:
        values = load_config(path).values
    except InputError:
        return
    assert all(isinstance(key, str) for key in values)
