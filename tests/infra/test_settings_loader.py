"""What a person is told: every mistake in every file at once, each with file, line and key, and never a traceback."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.errors import SettingsError
from infra.settings_loader import load, load_all

ENVIRONMENTS = Path(__file__).parents[2] / "configs" / "environments"
CORRECT = """\
name: test
project: example-test
region: europe-west4
zones: [europe-west4-a]
state_bucket: example-test-terraform
pools:
  cpu: {machine: e2-standard-8}
  l4: {machine: g2-standard-8, gpus: 1}
teams:
  research: {gpus: 1}
artifactory:
  url: https://artifactory.example.com/artifactory
"""
Told = Callable[[str | bytes], list[str]]


@pytest.fixture
def told(tmp_path: Path) -> Told:
    """What is said of a file with this text, without the folder."""
    path = tmp_path / "test.yaml"

    def run(text: str | bytes) -> list[str]:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        try:
            load(path)
        except SettingsError as error:
            return [str(problem).removeprefix(f"{tmp_path}/") for problem in error.problems]
        return []

    return run


def test_the_committed_environments_are_correct() -> None:
    assert [each.name for each in load_all(ENVIRONMENTS)] == sorted(path.stem for path in ENVIRONMENTS.glob("*.yaml"))


def test_the_smallest_environment_is_correct(told: Told) -> None:
    assert told(CORRECT) == []


def test_all_mistakes_of_all_sections_are_told_at_once(told: Told) -> None:
    text = CORRECT.replace("project:", "projct:").replace("{gpus: 1}", "{gpus: many}")
    text = text.replace("g2-standard-8, gpus: 1", "g2-standard-24, gpus: 1") + "system: {min: 9}\n"
    assert [line.partition(": ")[0] for line in told(text)] == [
        "test.yaml:project",
        "test.yaml:2:projct",
        "test.yaml:8:pools.l4.gpus",
        "test.yaml:10:teams.research.gpus",
        "test.yaml:13:system.min",
    ]


def test_one_wrong_pool_does_not_hide_what_is_wrong_with_another(told: Told) -> None:
    found = told(
        CORRECT.replace("cpu: {machine: e2-standard-8}", "cpu: {machin: x}").replace(
            "gpus: 1}\nteams", "gpus: 2}\nteams"
        )
    )
    assert [line.partition(": ")[0] for line in found] == [
        "test.yaml:7:pools.cpu.machin",
        "test.yaml:7:pools.cpu.machine",
        "test.yaml:8:pools.l4.gpus",
    ]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("machine: e2", "machin: e2", "did you mean 'machine'?"),
        ("e2-standard-8", "e2-standrad-8", "did you mean 'e2-standard-8'?"),
        ("gpus: 1}\nteams", "gpus: 1, capacity: [spto]}\nteams", "did you mean 'spot'?"),
        ("europe-west4\n", "europe-wset4\n", "region"),
        ("name: test", "name: other", "named 'test', not 'other'"),
        ("teams:\n", "cluster: {min_version: 1.30}\nteams:\n", 'write it in quotes: "1.30"'),
        ("teams:\n", "network: {nodes: 10.10.0.1/20}\nteams:\n", "write 10.10.0.0/20"),
        ("teams:\n", "controllers: {keda: yes}\nteams:\n", "write true or false"),
        ("teams:\n", "network:\nteams:\n", "It is empty."),
        ("teams:\n", "cluster: {maintenance: {hours: 3}}\nteams:\n", "greater than or equal to 4"),
        ("gpus: 1}\nteams", "gpus: '1'}\nteams", "valid integer"),
        ("gpus: 1}\nteams", "gpus: true}\nteams", "valid integer"),
        ("  research:", "  Research:", "should match pattern"),
        ("  url: https", "  url: http", "https://artifactory.example.com/artifactory"),
        ("  research: {gpus: 1}", "  research: {gpus: 1, budget: .inf}", "valid number"),
        ("  research: {gpus: 1}", "  research: {gpus: 1, budget: 1e999}", "valid number"),
        ("region:", "name: again\nregion:", "already on line 1"),
        ("{gpus: 1}", "{gpus: 1, gpus: 2}", "already on line 10"),
        ("{gpus: 1}", "!!python/object:os.system {gpus: 1}", "tag"),
        ("{gpus: 1}", "{gpus: !!int many}", "another type"),
        ("{gpus: 1}", '{group: "\\ud800@b.cc"}', "Unicode"),
        ("research:", "? [a, b]\n  :", "must be a word"),
        ("research:", "\x1b[31m:", "not YAML"),
    ],
)
def test_what_is_said(told: Told, old: str, new: str, said: str) -> None:
    text = CORRECT.replace(old, new, 1)
    assert text != CORRECT
    assert said in "\n".join(told(text))


def test_an_anchor_is_harmless_and_an_alias_is_refused(told: Told) -> None:
    text = CORRECT.replace("{machine: e2-standard-8}", "&it {machine: e2-standard-8}")
    assert told(text) == []
    (line,) = told(text.replace("l4: {machine: g2-standard-8, gpus: 1}", "l4: *it"))
    assert line.startswith("test.yaml:8: ")
    assert "aliases" in line


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"# nothing\n",
        b"- a\n",
        b"just words",
        b"a: [",
        b"a: b: c",
        b"\xff\xfe",
        b"a: \x00",
        b"--- {}\n--- {}\n",
        b"[" * 1200,
        b"x" * 300_000,
        b"a: &a [*a]",
        b"{? {? a}}",
        b"%YAML 9.9\n--- a",
    ],
)
def test_a_file_that_is_no_environment(told: Told, text: bytes) -> None:
    (line, *_rest) = told(text)
    assert line.startswith("test.yaml")


def test_a_file_or_folder_that_is_not_there(tmp_path: Path) -> None:
    for path in (tmp_path / "none.yaml", tmp_path, tmp_path / "a\0b.yaml"):
        with pytest.raises(SettingsError):
            load(path)
    with pytest.raises(SettingsError, match="cannot be read"):
        load_all(tmp_path / "none")
    with pytest.raises(SettingsError, match="no environment here"):
        load_all(tmp_path)


def test_yaml_1_1_surprises_are_not_ours(told: Told, tmp_path: Path) -> None:
    window = "cluster: {maintenance: {start: 22:00, exclusions: [{name: no, start: 2026-01-01, end: 2026-01-02}]}}\n"
    assert told(CORRECT + window) == []
    maintenance = load(tmp_path / "test.yaml").cluster.maintenance
    assert maintenance.start == "22:00"
    assert maintenance.exclusions[0].name == "no"
    assert maintenance.exclusions[0].end == date(2026, 1, 2)


def test_a_folder_s_mistakes_are_told_together(tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text("name: one\n")
    (tmp_path / "two.yaml").write_text("name: [")
    (tmp_path / "three.yml").write_text(CORRECT)
    with pytest.raises(SettingsError) as caught:
        load_all(tmp_path)
    assert {Path(problem.file).name for problem in caught.value.problems} == {"one.yaml", "two.yaml", "three.yml"}


def test_environments_in_one_project(tmp_path: Path) -> None:
    (tmp_path / "test.yaml").write_text(CORRECT)
    (tmp_path / "tset.yaml").write_text(CORRECT.replace("name: test", "name: tset"))
    with pytest.raises(SettingsError) as caught:
        load_all(tmp_path)
    (problem,) = caught.value.problems
    assert (Path(problem.file).name, problem.line, problem.key) == ("tset.yaml", 2, "project")
    assert [each.name for each in load_all(tmp_path, ["test"])] == ["test"]


def test_a_name_that_nobody_has(tmp_path: Path) -> None:
    (tmp_path / "test.yaml").write_text(CORRECT)
    with pytest.raises(SettingsError, match="did you mean 'test'"):
        load_all(tmp_path, ["tset"])


def test_strictness_does_not_depend_on_how_yaml_was_written() -> None:
    """Block and flow style, quotes or none: the values of a committed environment survive a rewriting."""
    values: dict[str, Any] = yaml.safe_load((ENVIRONMENTS / "prod.yaml").read_text())
    assert (
        load(ENVIRONMENTS / "prod.yaml").model_dump()
        == type(load(ENVIRONMENTS / "prod.yaml")).model_validate(values).model_dump()
    )
