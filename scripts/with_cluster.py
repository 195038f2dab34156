#!/usr/bin/env python3
"""Runs a command beside a Kubernetes cluster: ``scripts/with_cluster.py pytest tests/cluster``.

The cluster is a throw-away one when there is a kit for it at TUNERY_CLUSTER_KIT, and else the one of the current
kubectl context. This is the only place that knows the kit. A context is used only when TUNERY_CLUSTER_CONTEXT names
it: the tests create namespaces and queues, which nobody wants in a cluster that happened to be the current one.
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
EXIT_USAGE = 64
EXIT_UNAVAILABLE = 69
DEFAULT_KIT = Path(__file__).resolve().parents[2] / "shared" / "cluster"


def main(command: list[str]) -> int:
    """Exit code of the command; 64 without one, 69 without a cluster."""
    if not command:
        sys.stderr.write("usage: scripts/with_cluster.py COMMAND [ARGUMENT]...\n")
        return EXIT_USAGE
    kit = Path(os.environ.get(KIT) or DEFAULT_KIT) / "cluster.py"
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


def in_kit(kit: Path, command: list[str]) -> int:
    """Starts the kit's cluster, runs the command in it, and takes it down whatever happens."""
    share = Path(os.environ.get("KIT_HOME") or Path.home() / ".cache" / "one-node-kubernetes") / "share"
    environment = {**os.environ, READY: "1", CHARTS: os.environ.get(CHARTS) or str(share / "charts")}

    def run(*arguments: str, check: bool = True) -> int:
        return subprocess.run([sys.executable, str(kit), *arguments], env=environment, check=check).returncode

    run("install")
    try:
        run("up")
        run("addons")
        return run("exec", *command, check=False)
    finally:
        run("down")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
