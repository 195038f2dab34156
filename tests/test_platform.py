from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from workloads import platform
from workloads.errors import ExitCode, InputError


@pytest.fixture
def folder(repository: Path, tmp_path: Path) -> Path:
    """A copy of the committed contracts that the test may change."""
    return Path(shutil.copytree(repository / "configs" / "platform", tmp_path / "platform"))


@pytest.mark.parametrize("environment", ["dev", "staging", "prod"])
def test_a_committed_contract_is_read_without_loss(repository: Path, environment: str) -> None:
    folder = repository / "configs" / "platform"
    found = platform.load(environment, folder)
    text = (folder / f"{environment}.json").read_text(encoding="utf-8")
    assert json.loads(found.model_dump_json(exclude_unset=True)) == json.loads(text)


def test_every_role_of_a_stage_and_every_reader_of_a_secret_is_a_service_account(repository: Path) -> None:
    found = platform.load("prod", repository / "configs" / "platform")
    assert set(found.stages.values()) <= set(found.service_accounts)
    assert {role for secret in found.secrets.values() for role in secret.roles} <= set(found.service_accounts)
    assert found.secrets_of("stager") == ("artifactory-token",)
    assert found.secrets_of("trainer") == ()  # its one secret is optional, and prod has none
    assert found.secrets_of("runner") == ()


@pytest.mark.parametrize("name", ["prood", "../prod", "PROD", ""])
def test_an_unknown_environment_is_refused_with_the_known_ones(folder: Path, name: str) -> None:
    with pytest.raises(InputError) as refusal:
        platform.load(name, folder)
    assert refusal.value.exit_code is ExitCode.INPUT
    (problem,) = refusal.value.problems
    assert "dev, prod, staging" in problem.fix
    if name == "prood":
        assert problem.suggestion == "prod"


def test_another_version_is_one_clear_error_whatever_else_is_new(folder: Path) -> None:
    path = folder / "dev.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"version": 2, "queues": {}}))
    with pytest.raises(InputError, match="has version 2, and this tunery reads version 1") as refusal:
        platform.load("dev", folder)
    assert [problem.key for problem in refusal.value.problems] == ["version"]


def test_every_field_that_does_not_fit_is_named_with_its_key(folder: Path) -> None:
    path = folder / "dev.json"
    values = json.loads(path.read_text())
    values["pools"]["l4x1"]["max"] = "many"
    values["pools"]["l4x1"]["colour"] = "green"
    del values["priorities"]
    path.write_text(json.dumps(values))
    with pytest.raises(InputError) as refusal:
        platform.load("dev", folder)
    keys = {problem.key for problem in refusal.value.problems}
    assert keys == {"pools.l4x1.max", "pools.l4x1.colour", "priorities"}
    assert all("make goldens" in problem.fix and problem.file == str(path) for problem in refusal.value.problems)


@pytest.mark.parametrize("text", ["", "{", "[]", "null"])
def test_a_contract_that_is_no_json_object_is_refused(folder: Path, text: str) -> None:
    (folder / "dev.json").write_text(text)
    with pytest.raises(InputError, match="JSON"):
        platform.load("dev", folder)


def test_the_folder_is_the_one_that_the_environment_names(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "staging.json").unlink()
    monkeypatch.setenv("TUNERY_PLATFORM", str(folder))
    assert platform.environments() == ["dev", "prod"]
    monkeypatch.setenv("TUNERY_PLATFORM", str(folder / "absent"))
    with pytest.raises(InputError, match="TUNERY_PLATFORM"):
        platform.environments()
