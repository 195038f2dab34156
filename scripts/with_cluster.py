#!/usr/bin/env python3
"""Runs a command beside a Kubernetes cluster: ``scripts/with_cluster.py pytest tests/cluster``.

The cluster is a throw-away one when there is a kit for it at TUNERY_CLUSTER_KIT, and else the one of the current
kubectl context. A kit's cluster that is up already is used and left up. This module and scripts/kit_faults.py are the
only places that know the kit. A context is used only when TUNERY_CLUSTER_CONTEXT names it: the tests create
namespaces and queues, which nobody wants in a cluster that happened to be the current one.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

KIT = "TUNERY_CLUSTER_KIT"
CONTEXT = "TUNERY_CLUSTER_CONTEXT"
READY = "TUNERY_CLUSTER"
CHARTS = "TUNERY_CHARTS"
FAULTS = "TUNERY_CLUSTER_FAULTS"
"""The command by which tests make faults; only the kit has one."""
EXIT_USAGE = 64
EXIT_UNAVAILABLE = 69
DEFAULT_KIT = Path(__file__).resolve().parents[2] / "shared" / "cluster"


def main(command: list[str]) -> int:
    """Exit code of the command; 64 without one, 69 without a cluster."""
    if not command:
        sys.stderr.write("usage: scripts/with_cluster.py COMMAND [ARGUMENT]...\n")
        return EXIT_USAGE
    kit = kit_program()
    if kit.is_file():
        return in_kit(kit, command)
    context = os.environ.get(CONTEXT)
    kubectl = shutil.which("kubectl")
    if context and kubectl:
        subprocess.run([kubectl, "config", "use-context", context], check=True)
        return subprocess.run(command, env={**os.environ, READY: "1"}, check=False).returncode
    sys.stderr.write(
        f"no cluster: there is no kit at {kit}, and {CONTEXT} names no kubectl context. "
        f"Fix: {CONTEXT}=kind-kind, or {KIT}=FOLDER.\n"
    )
    return EXIT_UNAVAILABLE


def kit_program() -> Path:
    """Where the kit's program is, if there is a kit."""
    return Path(os.environ.get(KIT) or DEFAULT_KIT) / "cluster.py"


def in_kit(kit: Path, command: list[str]) -> int:
    """Runs the command in the kit's cluster; one that is started for it is taken down whatever happens."""
    share = Path(os.environ.get("KIT_HOME") or Path.home() / ".cache" / "one-node-kubernetes") / "share"
    environment = {
        **os.environ,
        READY: "1",
        FAULTS: f"{sys.executable} -m scripts.kit_faults",
        CHARTS: os.environ.get(CHARTS) or str(share / "charts"),
    }

    def run(*arguments: str, check: bool = True) -> int:
        return subprocess.run([sys.executable, str(kit), *arguments], env=environment, check=check).returncode

    if _is_up(kit):
        run("addons")
        return run("exec", *command, check=False)
    run("install")
    try:
        run("up")
        run("addons")
        return run("exec", *command, check=False)
    finally:
        run("down")


def _is_up(kit: Path) -> bool:
    status = subprocess.run([sys.executable, str(kit), "status"], capture_output=True, text=True, check=False)
    return any(not line.endswith("dead") for line in status.stdout.splitlines())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
