"""Faults that tests ask of the kit's cluster: ``python -m scripts.kit_faults away 30 kube-apiserver``.

::

    away SECONDS PROCESS...   processes of the control plane, or controllers, end and start again as they were
    start-node NAME           a further node
    preempt-node NAME SECONDS its pods get SIGTERM, and after some seconds it is gone
    kill-node NAME --delete   it vanishes, and its Node object too

To be run beside the cluster, as scripts/with_cluster.py runs its command.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from scripts.with_cluster import EXIT_USAGE, kit_program

_NODE_VERBS = ("start-node", "preempt-node", "kill-node")
_STOP_SECONDS = 3


def main(arguments: list[str]) -> int:
    """Exit code; 64 when there is no such fault."""
    verb, *rest = arguments or [""]
    if verb == "away" and len(rest) > 1:
        away(float(rest[0]), rest[1:])
        return 0
    if verb in _NODE_VERBS:
        return subprocess.run([sys.executable, str(kit_program()), *arguments], check=False).returncode
    sys.stderr.write(str(__doc__))
    return EXIT_USAGE


def away(seconds: float, names: list[str]) -> None:
    """Ends processes of the kit, and starts them again later with the same command and variables."""
    kit = _load(kit_program())
    before = {name: _started_with(kit.running(name)) for name in names}
    kit.stop(*names, secs=_STOP_SECONDS)
    try:
        time.sleep(seconds)
    finally:
        for name, (command, environment) in before.items():
            kit.start(name, *command, env=environment)


def _started_with(pid: int) -> tuple[list[str], dict[str, str]]:
    process = Path("/proc") / str(pid)
    command = process.joinpath("cmdline").read_text().rstrip("\0").split("\0")
    variables = process.joinpath("environ").read_text().rstrip("\0").split("\0")
    return command, dict(each.split("=", 1) for each in variables)


def _load(program: Path) -> Any:
    sys.path.insert(0, str(program.parent))  # it imports its neighbour
    found = importlib.util.spec_from_file_location("kit", program)
    if found is None or found.loader is None:
        raise ImportError(f"{program} is no module")
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
