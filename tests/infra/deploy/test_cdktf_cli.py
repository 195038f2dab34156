"""What a person types: cdktf's own command line, from settings to a cloud and back. Slow: ``make test-terraform``."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]

pytestmark = pytest.mark.terraform_full


@pytest.fixture
def cdktf(tmp_path: Path, terraform_environment: dict[str, str]) -> Any:
    """``cdktf("diff", "cluster-dev")``: runs scripts/cdktf with state and cloud in the test's folder."""

    def run(verb: str, *stacks: str, code: int = 0, **environment: str) -> str:
        approve = () if verb == "diff" else ("--auto-approve",)
        done = subprocess.run(
            [
                *(ROOT / "scripts" / "cdktf", verb, *stacks, *approve),
                *("--skip-provider-lock", "--no-color", "--output", tmp_path / "cdktf.out"),
            ],
            env={
                **terraform_environment,
                "TUNERY_FAKE_CLOUD": str(tmp_path / "cloud.json"),
                "TUNERY_LOCAL_STATE": str(tmp_path / "state"),
                **environment,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stdout
        return done.stdout

    return run


def test_an_environment_is_deployed_resumed_compared_and_destroyed(cdktf: Any) -> None:
    failed = cdktf("deploy", "cluster-dev", "platform-dev", code=1, TUNERY_FAKE_FAIL="google_container_cluster")
    assert "Error 403: Insufficient quota" in failed

    told = cdktf("deploy", "cluster-dev", "platform-dev")
    assert told.count("Apply complete!") == 2

    for stack in ("cluster-dev", "platform-dev"):
        assert "No changes. Your infrastructure matches the configuration." in cdktf("diff", stack)

    assert "Destroy complete!" in cdktf("destroy", "platform-dev")
    refused = cdktf("destroy", "cluster-dev", "platform-dev", code=1)
    assert "has lifecycle.prevent_destroy set" in " ".join(refused.split())
    assert "No changes" in cdktf("diff", "cluster-dev")
