"""Makes what Terraform cannot make for itself: the bucket of its state and the account that it deploys as.

It reads the environment's file and calls gcloud as whoever is logged in there: somebody who owns the project, once.
It may be run again at any time: what is there already stays, and what a first run did not reach is made.
``--dry-run`` prints the commands instead, as a shell script that does the same.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from infra.errors import EXIT_INPUT, Problem, SettingsError
from infra.main import DEFAULT_FOLDER, FOLDER
from infra.names import Names
from infra.settings_loader import load_all
from scripts.bootstrap_steps import Federation, Step, steps

EXIT_UNAVAILABLE = 69


def run(plan: Sequence[Step], gcloud: str) -> int:
    """Runs the steps that are not done yet; returns 0, or 69 at the first one that fails."""
    for number, step in enumerate(plan, start=1):
        print(f"[{number}/{len(plan)}] {step.why}", flush=True)
        if step.exists is not None and _call(gcloud, step.exists).returncode == 0:
            continue
        done = _call(gcloud, step.command)
        if done.returncode != 0:
            print(done.stderr.rstrip(), file=sys.stderr)
            return _fail(
                f"`{shlex.join(('gcloud', *step.command))}` failed.",
                "see the line above. A new account takes a minute until it is known everywhere. Run this again: it "
                "goes on where it stopped",
            )
    return 0


def _call(gcloud: str, words: Sequence[str]) -> subprocess.CompletedProcess[str]:
    # --quiet: a question that nobody sees would wait for ever.
    return subprocess.run([gcloud, *words, "--quiet"], capture_output=True, text=True, check=False)


def _fail(message: str, fix: str) -> int:
    print(f"bootstrap: {message}\n    fix: {fix}", file=sys.stderr)
    return EXIT_UNAVAILABLE


def _arguments(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bootstrap", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("environment", help="such as dev: the name of a file in configs/environments")
    parser.add_argument("--dry-run", action="store_true", help="print the commands as a shell script, and run none")
    parser.add_argument(
        "--operator",
        action="append",
        default=[],
        metavar="MEMBER",
        help="who may deploy by hand as the deployer, such as group:ops@example.com; may be repeated",
    )
    parser.add_argument("--github", metavar="OWNER/NAME", help="the repository whose pipelines deploy without a key")
    parser.add_argument("--branch", default="main", help="the branch of that repository that deploys (main)")
    parser.add_argument("--project-number", type=int, help="the project's number; needed with --github")
    return parser.parse_args(words)


def _federation(given: argparse.Namespace) -> Federation | None:
    if given.github is None:
        return None
    wrong = []
    # Both end up in the expression that decides whose tokens are taken.
    if not re.fullmatch(r"[A-Za-z0-9-]+/[A-Za-z0-9._-]+", given.github):
        wrong.append(Problem(f"{given.github!r} is not OWNER/NAME.", "write it like example/llm-platform", "--github"))
    if not re.fullmatch(r"[A-Za-z0-9._/-]+", given.branch):
        wrong.append(Problem(f"{given.branch!r} is not the name of a branch.", "write it like main", "--branch"))
    if given.project_number is None:
        fix = "take it from `gcloud projects describe PROJECT --format='value(projectNumber)'`"
        wrong.append(Problem("--github needs it.", fix, "--project-number"))
    if wrong:
        raise SettingsError(wrong)
    return Federation(given.github, given.branch, given.project_number)


def main(words: Sequence[str]) -> int:
    """Returns 0, 64 when the environment or an argument is wrong, 69 when gcloud is missing or refuses."""
    try:
        given = _arguments(words)
    except SystemExit as end:
        return EXIT_INPUT if end.code else 0
    try:
        (environment,) = load_all(Path(os.environ.get(FOLDER) or DEFAULT_FOLDER), [given.environment])
        federation = _federation(given)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return EXIT_INPUT
    plan = steps(environment, given.operator, federation)
    if given.dry_run:
        print("set -eu\n")
        print("\n".join(step.shell() for step in plan), end="")
        return 0
    gcloud = shutil.which("gcloud")
    if gcloud is None:
        return _fail("gcloud is not installed.", "install the Google Cloud CLI and log in: gcloud auth login")
    code = run(plan, gcloud)
    if code == 0:
        print(f"ready: cdktf deploy {Names(environment).cluster_stack}")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
