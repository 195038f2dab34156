"""The app is not tied to CDKTF, which is archived: its continuation, CDK Terrain, synthesizes the same Terraform."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from scripts.side_environment import ensure

ROOT = Path(__file__).parents[2]


def synthesize(python: Path, outdir: Path, **variables: str) -> dict[str, dict[str, Any]]:
    """Stack name -> Terraform JSON of the whole app, run by a Python that has one of the two installed."""
    environment = {**os.environ, "CDKTF_OUTDIR": str(outdir), **variables}
    subprocess.run([python, "-m", "infra.main"], cwd=ROOT, env=environment, check=True)
    return {path.parent.name: json.loads(path.read_text()) for path in outdir.glob("stacks/*/cdk.tf.json")}


@pytest.mark.cdktn
def test_cdktn_synthesizes_the_same_app(tmp_path: Path) -> None:
    python = ensure("cdktn") / "python"
    theirs = synthesize(python, tmp_path / "cdktn", TUNERY_CDK="cdktn")
    ours = synthesize(Path(sys.executable), tmp_path / "cdktf")
    assert theirs.keys() == ours.keys()
    assert len(ours) == 6
    for name, stack in theirs.items():
        providers = stack["terraform"]["required_providers"]
        # Both name the same provider: Terraform completes "google" to "hashicorp/google".
        assert providers["google"]["source"] == "hashicorp/google"
        providers["google"]["source"] = ours[name]["terraform"]["required_providers"]["google"]["source"]
        # The version of cdktn itself; Terraform ignores what is under "//".
        assert stack["//"]["metadata"].pop("version") != ours[name]["//"]["metadata"].pop("version")
        assert stack == ours[name]
