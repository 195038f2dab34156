"""``python -m benchmarks.render``: renders 1,000 different runs to YAML in one process.

Goals: 10 seconds and 200 MB at most. Seconds are of the processor, whatever else the machine does.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path

from scripts.generate_render import CASES, case
from workloads.render.pipeline import objects
from workloads.render.run import ClusterRun
from workloads.render.text import to_documents

RESULTS = Path(__file__).parent / "results" / "render.json"
RUNS = 1000
MOST_SECONDS = 10.0
MOST_MEGABYTES = 200.0


def main() -> int:
    """Prints the figures and writes them down; 1 when a goal is missed."""
    templates = [case(name) for name in CASES]
    started = time.process_time()
    size = 0
    for number in range(RUNS):
        of = templates[number % len(templates)]
        run = ClusterRun(f"run-{number:010x}", of.spec, of.team_name, of.platform, of.images, of.base_gb)
        size += len(to_documents(objects(run)))
    seconds = time.process_time() - started
    megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    found = {"runs": RUNS, "seconds": round(seconds, 2), "megabytes": round(megabytes), "yaml_megabytes": size // 10**6}
    RESULTS.write_text(json.dumps(found, indent=2) + "\n")
    print(json.dumps(found))
    return 0 if seconds <= MOST_SECONDS and megabytes <= MOST_MEGABYTES else 1


if __name__ == "__main__":
    sys.exit(main())
