from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from infra.bindings import cdktf
from infra.settings_loader import load_all
from infra.stacks import cluster
from scripts import bootstrap_project
from scripts.bootstrap_steps import DEPLOYER_ROLES, GRANTABLE, SECRETS_PERMISSIONS, Federation, Step, steps

ROOT = Path(__file__).parents[2]
ENVIRONMENTS = ROOT / "configs" / "environments"
FAKE = Path(__file__).parent / "fake_gcloud.py"
DEPLOYER = "serviceAccount:tunery-prod-deployer@example-llm-prod.iam.gserviceaccount.com"

SERVICES = {
    "artifact_registry": "roles/artifactregistry.admin",
    "billing": "roles/billing.costsManager",
    "binary_authorization": "roles/binaryauthorization.policyEditor",
    "cloudbuild_trigger": "roles/cloudbuild.builds.editor",
    "cloudbuild_worker_pool": "roles/cloudbuild.workerPoolOwner",
    "compute": "roles/compute.networkAdmin",
    "compute_firewall": "roles/compute.securityAdmin",
    "container": "roles/container.admin",
    "dns": "roles/dns.admin",
    "kms": "roles/cloudkms.admin",
    "logging": "roles/logging.configWriter",
    "monitoring_alert_policy": "roles/monitoring.alertPolicyEditor",
    "monitoring_notification_channel": "roles/monitoring.notificationChannelEditor",
    "project_iam": "roles/resourcemanager.projectIamAdmin",
    "project_service": "roles/serviceusage.serviceUsageAdmin",
    "secret_manager": "projects/example-llm-prod/roles/tuneryDeployerSecrets",
    "service_account": "roles/iam.serviceAccountAdmin",
    "service_networking": "roles/compute.networkAdmin",
    "storage": "roles/storage.admin",
}
"""How a Terraform resource's type starts, without ``google_``, and the role that makes it; the longest start wins."""


@dataclass
class Gcloud:
    """A gcloud that remembers what it was asked and what it made."""

    memory: Path

    def asked(self) -> list[list[str]]:
        lines = self.memory.read_text(encoding="utf-8").splitlines() if self.memory.exists() else []
        return [json.loads(line) for line in lines]

    def changed(self) -> list[list[str]]:
        return [words for words in self.asked() if "describe" not in words]

    def forget_calls(self) -> None:
        self.memory.write_text("", encoding="utf-8")


@pytest.fixture
def gcloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Gcloud:
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "gcloud"
    program.write_text(f"#!{sys.executable}\n{FAKE.read_text(encoding='utf-8')}", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_GCLOUD", str(tmp_path / "asked.jsonl"))
    monkeypatch.delenv("FAKE_GCLOUD_REFUSES", raising=False)
    monkeypatch.setenv("TUNERY_ENVIRONMENTS", str(ENVIRONMENTS))
    return Gcloud(tmp_path / "asked.jsonl")


def prod(operators: tuple[str, ...] = (), federation: Federation | None = None) -> list[Step]:
    (environment,) = load_all(ENVIRONMENTS, ["prod"])
    return steps(environment, operators, federation)


def granted(plan: list[Step], member: str) -> dict[str, tuple[str, ...]]:
    """Role -> the command that grants it to a member."""
    found = {}
    for step in plan:
        words = dict(word.split("=", 1) for word in step.command if word.startswith("--") and "=" in word)
        if words.get("--member") == member:
            found[words["--role"]] = step.command
    return found


def test_it_makes_everything_and_says_what_comes_next(gcloud: Gcloud, capsys: pytest.CaptureFixture[str]) -> None:
    assert bootstrap_project.main(["dev"]) == 0
    made = [words for words in gcloud.asked() if "create" in words]
    assert [words[:3] for words in made] == [
        ["iam", "service-accounts", "create"],
        ["storage", "buckets", "create"],
        ["iam", "roles", "create"],
    ]
    assert all("--quiet" in words for words in gcloud.asked())
    assert "cdktf deploy cluster-dev" in capsys.readouterr().out


def test_run_again_it_makes_nothing_twice(gcloud: Gcloud) -> None:
    assert bootstrap_project.main(["dev"]) == 0
    first = gcloud.changed()
    gcloud.forget_calls()
    assert bootstrap_project.main(["dev"]) == 0
    assert gcloud.changed() == [words for words in first if "create" not in words]


def test_after_a_refusal_it_goes_on_where_it_stopped(
    gcloud: Gcloud, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FAKE_GCLOUD_REFUSES", "storage buckets update")
    assert bootstrap_project.main(["dev"]) == 69
    told = capsys.readouterr().err
    assert "PERMISSION_DENIED" in told
    assert "gcloud storage buckets update gs://example-llm-dev-terraform" in told
    assert "fix:" in told
    assert not [words for words in gcloud.asked() if words[0] == "projects"]
    monkeypatch.delenv("FAKE_GCLOUD_REFUSES")
    gcloud.forget_calls()
    assert bootstrap_project.main(["dev"]) == 0
    assert [words[:3] for words in gcloud.changed() if "create" in words] == [["iam", "roles", "create"]]


def test_a_dry_run_calls_nothing_and_prints_a_script_that_does_the_same(gcloud: Gcloud) -> None:
    arguments = ["prod", "--operator", "group:ops@example.com"]
    arguments += ["--github", "example/llm", "--project-number", "123"]
    script = subprocess.run(
        [ROOT / "scripts" / "bootstrap", *arguments, "--dry-run"],
        env={**os.environ, "TUNERY_VENV": sys.prefix},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert gcloud.asked() == []
    subprocess.run(["bash", "-c", script], check=True, capture_output=True)  # noqa: S607
    from_script = gcloud.asked()
    (gcloud.memory.with_suffix(".made")).unlink()
    gcloud.forget_calls()
    assert bootstrap_project.main(arguments) == 0
    assert from_script == [[word for word in words if word != "--quiet"] for words in gcloud.asked()]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["prd"], "did you mean 'prod'"),
        (["dev", "--github", "example/llm"], "--project-number"),
        (["dev", "--github", "x/y' || true || '", "--project-number", "1"], "is not OWNER/NAME"),
        (["dev", "--github", "a/b", "--branch", "main' || '1'=='1", "--project-number", "1"], "name of a branch"),
        (["dev", "--unknown"], "unrecognized"),
        ([], "required"),
    ],
)
def test_wrong_arguments_are_told_before_anything_is_called(
    gcloud: Gcloud, capsys: pytest.CaptureFixture[str], arguments: list[str], told: str
) -> None:
    assert bootstrap_project.main(arguments) == 64
    assert told in capsys.readouterr().err
    assert gcloud.asked() == []


def test_without_gcloud_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert bootstrap_project.main(["dev"]) == 69
    assert "gcloud is not installed" in capsys.readouterr().err


def test_the_state_is_versioned_restorable_and_never_public() -> None:
    commands = [shlex.join(step.command) for step in prod()]
    update = next(command for command in commands if "buckets update" in command)
    for guard in ("--versioning", "--uniform-bucket-level-access", "--public-access-prevention", "--soft-delete"):
        assert guard in update
    create = next(command for command in commands if "buckets create" in command)
    assert "--location=europe-west4" in create
    assert commands.index(create) < commands.index(update)


def test_the_deployer_has_no_role_that_holds_everything() -> None:
    roles = granted(prod(), DEPLOYER)
    assert not {"roles/owner", "roles/editor", "roles/viewer", "roles/iam.serviceAccountTokenCreator"} & set(roles)
    assert not [role for role in roles if "secretmanager" in role]
    assert not [permission for permission in SECRETS_PERMISSIONS if "versions" in permission]


def test_the_deployer_grants_on_the_project_only_what_the_stacks_grant() -> None:
    condition = next(
        word
        for word in granted(prod(), DEPLOYER)["roles/resourcemanager.projectIamAdmin"]
        if word.startswith("--condition=^;^")
    )
    expression = condition.split("expression=")[1]
    assert expression == f"api.getAttribute('iam.googleapis.com/modifiedGrantsByRole', []).hasOnly({list(GRANTABLE)})"
    assert len(GRANTABLE) <= 10
    for grant in granted(prod(), DEPLOYER).values():
        if grant[0] == "projects":
            assert any(word.startswith("--condition=") for word in grant), "gcloud asks, since others have a condition"


def test_the_deployers_roles_are_those_that_the_resources_of_the_stacks_need() -> None:
    granted_by_stacks, needed = set(), set()
    for environment in load_all(ENVIRONMENTS):
        resources = cluster.build(cdktf.Testing.app(), environment).to_terraform()["resource"]
        granted_by_stacks |= {grant["role"] for grant in resources.get("google_project_iam_member", {}).values()}
        for kind in resources:
            starts = [start for start in SERVICES if kind.removeprefix("google_").startswith(start)]
            assert starts, f"{kind}: which role makes it? Add it to SERVICES here, and to DEPLOYER_ROLES"
            needed.add(SERVICES[max(starts, key=len)])
    assert granted_by_stacks == set(GRANTABLE)
    # Apart: it makes no resource, but lets resources run as an account.
    on_project = set(granted(prod(), DEPLOYER)) - {"roles/storage.objectUser", "roles/iam.serviceAccountUser"}
    assert on_project == needed
    assert "roles/iam.serviceAccountUser" in DEPLOYER_ROLES


def test_the_billing_account_is_touched_only_for_a_budget() -> None:
    (dev,) = load_all(ENVIRONMENTS, ["dev"])
    assert not [step for step in steps(dev) if step.command[0] == "billing"]
    assert [step for step in prod() if step.command[0] == "billing"]


def test_operators_impersonate_the_deployer_and_nobody_else() -> None:
    grant = granted(prod(("group:ops@example.com",)), "group:ops@example.com")["roles/iam.serviceAccountTokenCreator"]
    assert grant[:4] == ("iam", "service-accounts", "add-iam-policy-binding", DEPLOYER.removeprefix("serviceAccount:"))


def test_only_one_branch_of_one_repository_deploys_without_a_key() -> None:
    plan = prod(federation=Federation("example/llm", "main", 123))
    provider = next(step.command for step in plan if "create-oidc" in step.command)
    assert (
        "--attribute-condition=assertion.repository == 'example/llm' && assertion.ref == 'refs/heads/main'" in provider
    )
    pool = "principalSet://iam.googleapis.com/projects/123/locations/global/workloadIdentityPools/tunery-prod"
    assert set(granted(plan, f"{pool}/attribute.repository/example/llm")) == {"roles/iam.workloadIdentityUser"}
    assert not [step for step in prod() if "workload-identity-pools" in step.command]


Steps = Callable[..., list[Step]]


@pytest.mark.parametrize("plan", [prod, lambda: prod(("user:a@example.com",), Federation("a/b", "main", 1))])
def test_the_account_is_there_before_anything_is_granted_to_it(plan: Steps) -> None:
    commands = [step.command for step in plan()]
    created = next(
        number for number, words in enumerate(commands) if words[:3] == ("iam", "service-accounts", "create")
    )
    assert all(created < number for number, words in enumerate(commands) if "add-iam-policy-binding" in words)
