"""Everything that is wrong with a training config, at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from workloads.errors import Problem
from workloads.training_config.datasets import check_datasets
from workloads.training_config.loader import LoadedConfig
from workloads.training_config.resources import check_files, check_model
from workloads.training_config.rules import check_rules
from workloads.training_config.rules.data import DATA_RULES, MODEL_RULE
from workloads.training_config.rules.deepspeed import DEEPSPEED_RULES
from workloads.training_config.rules.method import METHOD_RULES
from workloads.training_config.rules.trainer import TRAINER_RULES
from workloads.training_config.schema import check_keys, check_values
from workloads.training_config.secrets import check_secrets
from workloads.training_config.settings import Settings

_RULES = (*DATA_RULES, *METHOD_RULES, *DEEPSPEED_RULES, *TRAINER_RULES)


def check_config(
    config: LoadedConfig,
    *,
    base_dir: Path | None = None,
    model_config: Mapping[str, Any] | None = None,
    data: bool = True,
    in_run: bool = False,
) -> list[Problem]:
    """Checks a training config without importing LLaMA-Factory.

    Args:
        config: the config after overrides.
        base_dir: where relative paths are looked for when they are not under the working directory, as LLaMA-Factory
            takes them; the config's folder when None.
        model_config: the parsed config.json of the base model. When None, it is read where ``model_name_or_path`` is
            a folder here.
        data: whether to read the data files row by row.
        in_run: whether the config is part of a run, which may name its base model elsewhere and whose data must be
            files here.

    Returns:
        Every problem, in the order of the file's lines. A code that begins with ``warn-`` is a warning: the config
        is fit for training all the same.
    """
    wrong_values = check_values(config)
    settings = Settings(config, {str(problem.key) for problem in wrong_values}, base_dir or config.path.parent)
    secrets = check_secrets(config)
    hidden = {problem.key for problem in secrets if problem.code == "secret"}
    problems = [
        *check_keys(config),
        *(problem for problem in wrong_values if problem.key not in hidden),  # whose message would show the value
        *check_rules(settings, _RULES if in_run else (MODEL_RULE, *_RULES)),
        *check_files(settings),
        *check_model(settings, model_config),
        *secrets,
    ]
    if data:
        problems += check_datasets(settings, in_run=in_run)
    return sorted(problems, key=lambda problem: (problem.file != str(config.path), problem.line or 0))


def shared_output_dirs(configs: Sequence[LoadedConfig]) -> list[Problem]:
    """Warnings for configs that write to one output_dir; a run of tunery has its own, plain LLaMA-Factory not."""
    first: dict[str, LoadedConfig] = {}
    problems = []
    for config in configs:
        folder = config.values.get("output_dir")
        if not isinstance(folder, str):
            continue
        other = first.setdefault(str(Path(folder)), config)
        if other.path.resolve() != config.path.resolve():
            problems.append(
                config.problem(
                    "output_dir",
                    f"{other.path} writes to the same folder, so one training would overwrite or continue the other.",
                    "name another folder, or start both with `tunery run`, which gives each run its own",
                    "warn-shared-output",
                )
            )
    return problems
