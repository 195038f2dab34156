"""Runs checkov on the synthesized Terraform and the Dockerfiles: no check may fail but those that
configs/policy/checkov.yaml names.

checkov holds back packages that the rest needs, so it has an environment of its own.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

from scripts.generate_infra import synthesize
from scripts.setup import ROOT
from scripts.side_environment import ensure

SKIPS = ROOT / "configs" / "policy" / "checkov.yaml"


def skips() -> dict[str, str]:
    """Check id -> why it is left out."""
    found: dict[str, str] = yaml.safe_load(SKIPS.read_text(encoding="utf-8")) or {}
    return found


def scan(folder: Path, framework: str = "terraform_json") -> dict[str, Any]:
    """checkov's report on a folder, as its JSON."""
    checkov = str(ensure("policy") / "checkov")
    command = [checkov, "--directory", str(folder), "--framework", framework, "--output", "json"]
    command += ["--quiet", "--compact", "--skip-download"]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "LOG_LEVEL": "ERROR"}
    )
    try:
        report: dict[str, Any] = json.loads(done.stdout)
    except json.JSONDecodeError:
        raise SystemExit(f"policy: checkov gave no report (exit {done.returncode}):\n{done.stderr[-2000:]}") from None
    return report


def expanded(dockerfile: str) -> str:
    """A Dockerfile whose FROM lines name what they mean by default, as a builder reads them; checkov does not."""
    defaults = dict(re.findall(r"^ARG (\w+)=(\S+)$", dockerfile.partition("\nFROM ")[0], re.MULTILINE))
    return re.sub(r"^FROM \$\{(\w+)\}", lambda found: f"FROM {defaults[found[1]]}", dockerfile, flags=re.MULTILINE)


def main() -> int:
    """Exit 1 when a check fails, or when one that is skipped is not needed any more."""
    with tempfile.TemporaryDirectory() as folder:
        for stacks in synthesize().values():
            for name, terraform in stacks.items():
                place = Path(folder) / name
                place.mkdir()
                (place / "cdk.tf.json").write_text(json.dumps(terraform, indent=2), encoding="utf-8")
        for dockerfile in sorted((ROOT / "images").glob("*/Dockerfile")):
            place = Path(folder) / dockerfile.parent.name
            place.mkdir()
            (place / "Dockerfile").write_text(expanded(dockerfile.read_text(encoding="utf-8")), encoding="utf-8")
        reports = [scan(Path(folder)), scan(Path(folder), "dockerfile")]
        allowed = skips()
        failed = [check for report in reports for check in report.get("results", {}).get("failed_checks", [])]
    open_failures = [check for check in failed if check["check_id"] not in allowed]
    for check in open_failures:
        print(
            f"{check['check_id']} {check['check_name']}: {check['resource']} in {check['file_path']}", file=sys.stderr
        )
    unused = sorted(set(allowed) - {check["check_id"] for check in failed})
    for name in unused:
        print(f"{name} is skipped in {SKIPS.relative_to(ROOT)} but fails nowhere: remove it", file=sys.stderr)
    passed = [report.get("summary", report)["passed"] for report in reports]
    print(f"policy: checkov passed {sum(passed)}, failed {len(open_failures)}, skipped ids {len(allowed)}")
    return 1 if open_failures or unused or not all(passed) else 0


if __name__ == "__main__":
    sys.exit(main())
