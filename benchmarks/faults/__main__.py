"""``make faults``: plays every fault on tunery and on plain llamafactory-cli, and writes docs/faults.md."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from benchmarks.faults.clock import CLOCK

_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "DISABLE_VERSION_CHECK": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "WANDB_DISABLED": "true",
    "PYTHONWARNINGS": "ignore",
}


def main() -> int:
    """Plays them; 1 when tunery misses a goal."""
    from benchmarks.faults.campaign import Campaign
    from benchmarks.faults.document import write
    from benchmarks.faults.stores import INSTALL, emulator

    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults", description=__doc__)
    parser.add_argument(
        "words", nargs="*", help="play only rows whose group or name has one of these, and write nothing"
    )
    parser.add_argument("--model", type=Path, help="the folder of the tiny base model, when there is one already")
    parser.add_argument("--keep", type=Path, help="an empty folder for the rows and their logs")
    parser.add_argument("--quick", action="store_true", help="only tunery, and no pods")
    chosen = parser.parse_args()
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="tunery-faults-") as name, ExitStack() as stack:
        scratch = (chosen.keep or Path(name)).resolve()
        for variable, place in {"TUNERY_HUB": "hub", "TUNERY_CACHE": "cache", "TUNERY_RUNS": "runs"}.items():
            os.environ[variable] = str(scratch / place)
        address = None if chosen.quick else stack.enter_context(emulator())
        if address is None and not chosen.quick:
            raise SystemExit(f"there is no fake-gcs-server; install it: {INSTALL}")
        campaign = Campaign.prepare(scratch, address, chosen.model, plain=not chosen.quick)
        results = campaign.play(chosen.words)
    return write(results, time.perf_counter() - started, whole=not chosen.words and not chosen.quick)


if __name__ == "__main__":
    os.environ.update(_ENVIRONMENT)
    CLOCK.install()
    sys.exit(main())
