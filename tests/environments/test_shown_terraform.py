from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from workloads.environments import terraform
from workloads.errors import InputError, UnavailableError

STACK = """
terraform {
  backend "local" { path = "stack.tfstate" }
}
resource "terraform_data" "bucket" {
  input            = "models"
  triggers_replace = ["europe-west4"]
}
resource "terraform_data" "other" {}
"""


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stack of Terraform's own resources, which need no provider and no network."""
    if shutil.which("terraform") is None:
        missing = "terraform is not on the PATH: install Terraform 1.9 or later"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    (tmp_path / "rc").touch()
    monkeypatch.setenv("TF_CLI_CONFIG_FILE", str(tmp_path / "rc"))
    monkeypatch.setenv("CHECKPOINT_DISABLE", "1")
    folder = tmp_path / "stack"
    folder.mkdir()
    (folder / "main.tf").write_text(STACK)
    return folder


def _terraform(folder: Path, *arguments: str) -> str:
    command = ["terraform", f"-chdir={folder}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_a_real_state_and_a_real_plan_are_read(stack: Path, tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match=r"Backend initialization required.*init"):
        terraform.show_state(stack)
    _terraform(stack, "init")
    assert terraform.show_state(stack) == []
    _terraform(stack, "apply", "-auto-approve")
    resources = terraform.show_state(stack)
    assert [resource.address for resource in resources] == ["terraform_data.bucket", "terraform_data.other"]
    assert resources[0].values["input"] == "models"

    text = STACK.replace("europe-west4", "us-central1").replace('resource "terraform_data" "other" {}', "")
    (stack / "main.tf").write_text(text)
    _terraform(stack, "plan", "-out", "plan")
    with pytest.raises(InputError, match="as Terraform saves it"):
        terraform.read_plan(stack / "plan")
    path = tmp_path / "plan.json"
    path.write_text(_terraform(stack, "show", "-json", "plan"))
    plan = terraform.read_plan(path)
    assert plan.changes == 2
    replaced, destroyed = plan.removals
    assert (replaced.resource.address, replaced.replaced) == ("terraform_data.bucket", True)
    assert replaced.paths == ("triggers_replace",)
    assert (destroyed.resource.address, destroyed.replaced) == ("terraform_data.other", False)
    assert destroyed.reason == "delete_because_no_resource_config"
    with pytest.raises(InputError, match="It is a plan, not a state"):
        terraform.read_state(path)


def test_the_resources_of_modules_count_and_data_sources_do_not(shown: Callable[[Any], Path]) -> None:
    def resource(address: str, mode: str = "managed") -> dict[str, Any]:
        return {"address": address, "mode": mode, "type": "google_storage_bucket", "values": {}}

    inner = {"resources": [resource("module.a.module.b.google_storage_bucket.x")]}
    module = {
        "resources": [resource("google_storage_bucket.y"), resource("data.google_storage_bucket.z", "data")],
        "child_modules": [{"address": "module.a", "child_modules": [inner]}],
    }
    found = terraform.read_state(shown({"format_version": "1.0", "values": {"root_module": module}}))
    assert [each.address for each in found] == ["google_storage_bucket.y", "module.a.module.b.google_storage_bucket.x"]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([], "not what"),
        ({"version": 4, "terraform_version": "1.11.4", "resources": []}, "not what"),  # the state file itself
        ({"format_version": "2.0"}, "version 2.0"),
        ({"format_version": "1.2", "resource_changes": []}, "a plan, not a state"),
    ],
)
def test_what_is_no_shown_state_is_refused(shown: Callable[[Any], Path], value: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        terraform.read_state(shown(value))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"format_version": "1.0"}, "a state, not a plan"),
        ({"format_version": "1.2", "resource_changes": [], "errored": True}, "has errors"),
    ],
)
def test_what_is_no_plan_that_succeeded_is_refused(shown: Callable[[Any], Path], value: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        terraform.read_plan(shown(value))


def test_a_file_that_is_not_there_or_no_json_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        terraform.read_state(tmp_path / "absent.json")
    (tmp_path / "text").write_text("not JSON")
    with pytest.raises(InputError, match="no readable JSON"):
        terraform.read_state(tmp_path / "text")


def test_a_missing_terraform_and_a_missing_stack_may_come_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UnavailableError, match="not on the PATH"):
        terraform.show_state(tmp_path)
    program = tmp_path / "terraform"
    program.write_text("#!/bin/sh\nexit 0\n")
    program.chmod(0o755)
    with pytest.raises(UnavailableError, match="not synthesized"):
        terraform.show_state(tmp_path / "absent")
