"""Real Terraform on the synthesized stacks, with the test provider in place of Google Cloud and Helm."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from terraform_provider.install import install

ROOT = Path(__file__).parents[3]
DEPLOYED = ("cluster-dev", "platform-dev")


@dataclass(frozen=True)
class Site:
    """Stacks, their state, and the cloud they are deployed to: a folder of its own."""

    folder: Path
    environment: dict[str, str]

    @property
    def cloud(self) -> dict[str, dict[str, Any]]:
        """What stands in the cloud: Terraform type -> id -> values."""
        file = self.folder / "cloud.json"
        found: dict[str, dict[str, Any]] = json.loads(file.read_text()) if file.exists() else {}
        return found

    def change_cloud(self, change: Callable[[dict[str, dict[str, Any]]], object]) -> None:
        """Somebody changes something by hand."""
        cloud = self.cloud
        change(cloud)
        (self.folder / "cloud.json").write_text(json.dumps(cloud))

    def change_stack(self, stack: str, change: Callable[[dict[str, Any]], object]) -> None:
        """Another version of the Terraform of a stack."""
        file = self.folder / "stacks" / stack / "cdk.tf.json"
        terraform = json.loads(file.read_text())
        change(terraform)
        file.write_text(json.dumps(terraform))

    def terraform(self, stack: str, *arguments: str, code: int = 0, **environment: str) -> str:
        """Runs Terraform in a stack; what it wrote. It must end with ``code``."""
        done = subprocess.run(
            [str(shutil.which("terraform")), f"-chdir={self.folder / 'stacks' / stack}", *arguments, "-no-color"],
            env={**self.environment, "TUNERY_FAKE_CLOUD": str(self.folder / "cloud.json"), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stdout
        return done.stdout

    def init(self, stack: str) -> None:
        """The stack's state goes into this folder."""
        state = self.folder / f"{stack}.tfstate"
        self.terraform(stack, "init", "-input=false", "-reconfigure", f"-backend-config=path={state}")

    def apply(self, stack: str, *arguments: str, code: int = 0, **environment: str) -> str:
        """``terraform apply`` without a question."""
        return self.terraform(stack, "apply", "-input=false", "-auto-approve", *arguments, code=code, **environment)

    def plan(self, stack: str, code: int = 0) -> str:
        """``terraform plan``: code 0 when nothing is to be done, 2 when something is, 1 when it is refused."""
        return self.terraform(stack, "plan", "-input=false", "-detailed-exitcode", code=code)


@pytest.fixture(scope="session")
def session_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all processes of one test run share: pytest-xdist gives each of them one inside it."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def installed(session_folder: Path) -> Path:
    """The folder with the test provider, made once for all test processes."""
    shared = session_folder / "terraform-provider"
    with FileLock(f"{shared}.lock"):
        if not (shared / "terraform.rc").exists():
            shared.mkdir()
            install(shared)
    return shared


@pytest.fixture(scope="session")
def terraform_environment(installed: Path) -> dict[str, str]:
    """The environment variables with which Terraform finds the test provider and nothing else."""
    if shutil.which("terraform") is None:
        missing = "terraform is not on the PATH: install Terraform 1.9 or later"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TF_", "TUNERY_"))}
    return {**kept, "TF_CLI_CONFIG_FILE": str(installed / "terraform.rc"), "CHECKPOINT_DISABLE": "1"}


@pytest.fixture(scope="session")
def synthesized(session_folder: Path) -> Path:
    """The folder with the Terraform of every stack of the committed environments. Read only."""
    shared = session_folder / "synthesized"
    with FileLock(f"{shared}.lock"):
        if not shared.exists():
            subprocess.run(
                [sys.executable, "-m", "infra.main"],
                cwd=ROOT,
                env={**os.environ, "CDKTF_OUTDIR": str(shared), "TUNERY_LOCAL_STATE": "state"},
                check=True,
                capture_output=True,
            )
    return shared / "stacks"


MakeSite = Callable[..., Site]


@pytest.fixture
def make_site(tmp_path: Path, terraform_environment: dict[str, str], synthesized: Path) -> MakeSite:
    """A cloud with nothing in it: ``make_site("cluster-dev")``."""

    def make(*stacks: str) -> Site:
        site = Site(tmp_path / "site", terraform_environment)
        for stack in stacks:
            shutil.copytree(synthesized / stack, site.folder / "stacks" / stack)
            site.init(stack)
        return site

    return make


@pytest.fixture(scope="session")
def deployed_once(session_folder: Path, terraform_environment: dict[str, str], synthesized: Path) -> Path:
    """The folder of a site on which dev stands. Read only: use ``deployed``."""
    shared = session_folder / "deployed"
    with FileLock(f"{shared}.lock"):
        if not shared.exists():
            site = Site(shared.with_name("deploying"), terraform_environment)
            for stack in DEPLOYED:
                shutil.copytree(synthesized / stack, site.folder / "stacks" / stack)
                site.init(stack)
                site.apply(stack)
            site.folder.rename(shared)
    return shared


@pytest.fixture
def deployed(deployed_once: Path, tmp_path: Path, terraform_environment: dict[str, str]) -> Site:
    """A site on which dev stands, which the test may change."""
    site = Site(tmp_path / "deployed", terraform_environment)
    shutil.copytree(deployed_once, site.folder, symlinks=True)
    for stack in DEPLOYED:
        site.init(stack)
    return site
