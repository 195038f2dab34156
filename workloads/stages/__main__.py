"""``python -m workloads.stages RUN_DIR``: every stage of the run, in one process."""

import sys

from workloads.stages.runner import command

if __name__ == "__main__":
    sys.exit(command(None, sys.argv[1:]))
