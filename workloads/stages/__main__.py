"""``python -m workloads.stages RUN_DIR``: every stage of the run, in one process."""

from workloads.stages.runner import main

if __name__ == "__main__":
    main()
