"""``python -m workloads.cli``: tunery from a checkout, without installing it."""

from workloads.cli.main import main

main()
