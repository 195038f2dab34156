"""Training configs: read as LLaMA-Factory reads them, and checked without importing it."""

from workloads.training_config.checks import check_config, shared_output_dirs
from workloads.training_config.datasets import DatasetFile, check_rows, find_datasets
from workloads.training_config.loader import LoadedConfig, load_config
from workloads.training_config.overrides import apply_overrides

__all__ = [
    "DatasetFile",
    "LoadedConfig",
    "apply_overrides",
    "check_config",
    "check_rows",
    "find_datasets",
    "load_config",
    "shared_output_dirs",
]
