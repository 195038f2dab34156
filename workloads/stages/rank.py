"""The entry point of one rank of a training by several processes."""

from workloads.stages.failures import explain
from workloads.training.ranks import main

if __name__ == "__main__":
    main(explain)
