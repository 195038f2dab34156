"""``make bench-infra``: synthesis of all environments against the same app with the bindings imported plainly.

Plain is what a CDKTF program does: ``import cdktf_cdktf_provider_google``, and no hook in Node. Both run in turn, with
the same Node; prints a table and writes benchmarks/results/synth.json.
"""

from __future__ import annotations

import filecmp
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

from benchmarks.report import Row, report
from infra.bindings import CDK, GOOGLE, HELM, NODE

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results" / "synth.json"
TIMES = 5
LAZY = ("-m", "infra.main")
# The bindings are there before infra.bindings can put anything in their place, and so is their Node.
PLAIN = ("-c", f"import {GOOGLE}, {HELM}, sys; from infra.main import main; sys.exit(main([]))")


def start(program: Sequence[str], outdir: Path) -> subprocess.Popen[bytes]:
    """Starts a synthesis that writes into ``outdir``."""
    environment = {key: value for key, value in os.environ.items() if key not in ("JSII_NODE", CDK)}
    environment |= {"CDKTF_OUTDIR": str(outdir), "PYTHONDONTWRITEBYTECODE": ""}
    if program == PLAIN:
        environment["JSII_NODE"] = os.environ[NODE]
    return subprocess.Popen([sys.executable, *program], cwd=ROOT, env=environment)


def seconds(program: Sequence[str], outdir: Path) -> float:
    """Wall time of one synthesis."""
    started = time.perf_counter()
    if start(program, outdir).wait() != 0:
        raise SystemExit("the synthesis failed; see the lines above")
    return time.perf_counter() - started


def megabytes(program: Sequence[str], outdir: Path) -> float:
    """The most memory that Python and its Node processes held at once, in MB.

    Pages that they share (both Nodes are one program) count once where the system tells so, as Linux does (PSS).
    """
    process, most = start(program, outdir), 0
    root = psutil.Process(process.pid)
    while process.poll() is None:
        try:
            held = [each.memory_full_info() for each in (root, *root.children(recursive=True))]
        except psutil.Error:  # one of them ended meanwhile
            continue
        most = max(most, sum(getattr(each, "pss", each.rss) for each in held))
        time.sleep(0.02)
    return most / 1e6


def differing(left: Path, right: Path) -> int:
    """How many files are not the same bytes in both folders."""
    names = {path.relative_to(folder) for folder in (left, right) for path in folder.rglob("*") if path.is_file()}
    if not names:
        raise SystemExit("nothing was synthesized")
    _, wrong, missing = filecmp.cmpfiles(left, right, [str(name) for name in names], shallow=False)
    return len(wrong) + len(missing)


def main() -> int:
    """Measures, prints and writes; the exit code says whether every goal is met."""
    with tempfile.TemporaryDirectory(prefix="tunery-bench-") as name:
        lazy, plain = Path(name, "lazy"), Path(name, "plain")
        memory = megabytes(LAZY, lazy), megabytes(PLAIN, plain)  # also what fills the caches of both
        pairs = [(seconds(LAZY, lazy), seconds(PLAIN, plain)) for _ in range(TIMES)]
        changed = differing(lazy, plain)
    # The least: whatever else the machine does only adds to it, and more to two processes that wait for one another.
    ours, theirs = (min(times) for times in zip(*pairs, strict=True))
    return report(
        [
            Row("synthesis of all environments", ours, theirs, "s", "under 4", ours < 4),
            Row("against plain imports", theirs / ours, None, "times", "at least 5", theirs / ours >= 5),
            Row("memory of Python and Node", memory[0], memory[1], "MB", "under 250", memory[0] < 250),
            Row("files that differ", changed, None, "files", "0", changed == 0),
        ],
        RESULTS,
    )


if __name__ == "__main__":
    sys.exit(main())
