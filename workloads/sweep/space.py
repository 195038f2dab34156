"""What a sweep tries: the values and ranges of its parameters, checked against what LLaMA-Factory knows."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from workloads.errors import Problem, did_you_mean
from workloads.run_spec import MAX_TRIALS, Parameter, Scalar, Sweep
from workloads.sweep.rungs import rungs
from workloads.training_config import LoadedConfig, check_config
from workloads.training_config.schema import check_value, properties

TUNABLE_TRAINING = frozenset(
    {
        "adam_beta1",
        "adam_beta2",
        "adam_epsilon",
        "data_seed",
        "gradient_accumulation_steps",
        "label_smoothing_factor",
        "learning_rate",
        "lr_scheduler_type",
        "max_grad_norm",
        "max_steps",
        "neftune_noise_alpha",
        "num_train_epochs",
        "optim",
        "per_device_train_batch_size",
        "seed",
        "train_sampling_strategy",
        "warmup_ratio",
        "warmup_steps",
        "weight_decay",
    }
)
"""The trainer's keys that decide what is learnt; the others decide where things lie or how the process is set up."""

TUNABLE_MODEL = frozenset({"double_quantization", "moe_aux_loss_coef", "quantization_bit", "quantization_type"})
_NOT_TUNABLE_METHOD = frozenset(
    {
        "compute_accuracy",
        "create_new_adapter",
        "early_stopping_steps",
        "include_effective_tokens_per_second",
        "plot_loss",
        "pure_bf16",
        "stage",
        "use_hyper_parallel",
        "use_mca",
    }
)
_NOT_TUNABLE_PREFIXES = ("hyper_parallel", "ppo_", "ref_model", "reward_model", "swanlab_", "use_swanlab")
_MOST_PROBLEMS = 5
_LENGTH_KEYS = ("max_steps", "num_train_epochs")


def is_tunable(key: str) -> bool:
    """Whether a sweep may try values of a key that LLaMA-Factory knows."""
    part = properties()[key]["x-part"]
    if part == "method":
        return key not in _NOT_TUNABLE_METHOD and not key.startswith(_NOT_TUNABLE_PREFIXES)
    return key in TUNABLE_TRAINING or key in TUNABLE_MODEL


def is_integer(key: str) -> bool:
    """Whether a key takes whole numbers only."""
    kinds = properties()[key]["type"]
    return "integer" in kinds and "number" not in kinds


def points(key: str, parameter: Parameter) -> tuple[Scalar, ...]:
    """The values of one parameter in a grid, in order; a whole number appears once."""
    if parameter.values is not None:
        return parameter.values
    low, high, count = parameter.min, parameter.max, parameter.points
    if low is None or high is None or count is None:
        raise ValueError(f"{key} has no points")
    steps = [number / (count - 1) for number in range(count)]
    if parameter.log:
        numbers = [low * (high / low) ** step for step in steps]
    else:
        numbers = [low + (high - low) * step for step in steps]
    numbers = [low, *numbers[1:-1], high]
    # 12 digits: without the last bits that arithmetic leaves, which would stand in every table
    found: list[Scalar] = [round(each) if is_integer(key) else float(f"{each:.12g}") for each in numbers]
    return tuple(dict.fromkeys(found))


def grid_size(sweep: Sweep) -> int:
    """How many combinations a grid has."""
    return math.prod(len(points(key, parameter)) for key, parameter in sweep.parameters.items())


def most_trials(sweep: Sweep) -> int:
    """How many trials a sweep has; fewer are drawn when there are not so many different ones."""
    return grid_size(sweep) if sweep.method == "grid" else sweep.trials or 0


def check(sweep: Sweep, training: LoadedConfig, file: Path) -> list[Problem]:
    """Everything that is wrong with a sweep, with ``file`` and key.

    Args:
        training: the training config after overrides, which the trials vary.
    """
    problems: list[Problem] = []
    for key, parameter in sweep.parameters.items():
        wrong = _key_problem(sweep, key, parameter, file)
        problems += [wrong] if wrong else list(_value_problems(key, parameter, training, file))
    place = str(file)
    if sweep.method == "grid" and not problems and (size := grid_size(sweep)) > MAX_TRIALS:
        problems.append(
            Problem(
                f"The grid has {size:,} combinations, more than {MAX_TRIALS:,}.",
                "leave out some values, or use the method random with trials",
                file=place,
                key="sweep.parameters",
                code="sweep",
            )
        )
    return problems + list(_asha_problems(sweep, training, place))


def _key_problem(sweep: Sweep, key: str, parameter: Parameter, file: Path) -> Problem | None:
    def problem(message: str, fix: str, code: str, *, inner: str = "", suggestion: str | None = None) -> Problem:
        place = f"sweep.parameters.{key}{inner}"
        return Problem(message, fix, file=str(file), key=place, suggestion=suggestion, code=code)

    known = properties()
    if key not in known:
        tunable = [name for name in known if is_tunable(name)]
        return problem(
            "LLaMA-Factory has no such key.",
            "correct its spelling, or remove it",
            "unknown-key",
            suggestion=did_you_mean(key, tunable),
        )
    if known[key]["x-part"] == "data":
        return problem(
            "All trials train on the same prepared data, or their metrics could not be compared.",
            "set it in the training config, and compare data sets by runs of their own",
            "sweep",
        )
    if not is_tunable(key):
        return problem(
            "This key decides where a run reads and writes or how its process is set up, not what is learnt.",
            "set it in the training config",
            "sweep",
        )
    if parameter.values is None and not {"integer", "number"} & set(known[key]["type"]):
        return problem("This key is not a number, so it has no range.", "list its values", "sweep", inner=".min")
    if parameter.values is None and sweep.method == "grid" and parameter.points is None:
        return problem(
            "A grid needs to know how many numbers of this range to try.",
            "add points, or list values",
            "sweep",
            inner=".points",
        )
    if parameter.points is not None and sweep.method != "grid":
        return problem(
            "Only a grid has points; numbers are drawn from the whole range.", "remove it", "sweep", inner=".points"
        )
    return None


def _value_problems(key: str, parameter: Parameter, training: LoadedConfig, file: Path) -> Iterator[Problem]:
    """Values that the key cannot take, and values that do not go with the rest of the training config."""
    given: list[tuple[str, Scalar]]
    if parameter.values is not None:
        given = [(f"values.{number}", value) for number, value in enumerate(parameter.values)]
    else:
        given = [(name, _typed(key, getattr(parameter, name))) for name in ("min", "max")]
    known = {(problem.key, problem.message) for problem in _problems_of(training)}
    for inner, value in given:
        wrong = check_value(training, key, value, properties()[key])
        found = [wrong] if wrong is not None else _new_problems(training, {key: value}, known)
        for problem in found:
            place = f"sweep.parameters.{key}.{inner}"
            yield replace(problem, file=str(file), key=place, line=None)


def check_trials(training: LoadedConfig, trials: Sequence[Mapping[str, Scalar]], file: Path) -> list[Problem]:
    """What is wrong with combinations of values that are fine each by itself; of many, the first few."""
    known = {(problem.key, problem.message) for problem in _problems_of(training)}
    found: list[Problem] = []
    for number, parameters in enumerate(trials):
        chosen = ", ".join(f"{key}={value}" for key, value in parameters.items())
        found += [
            replace(
                problem,
                message=f"Trial {number} ({chosen}): {problem.key}: {problem.message}",
                file=str(file),
                key="sweep.parameters",
                line=None,
            )
            for problem in _new_problems(training, parameters, known)
        ]
        if len(found) >= _MOST_PROBLEMS:
            break
    return found


def _new_problems(
    training: LoadedConfig, parameters: Mapping[str, Scalar], known: set[tuple[str | None, str]]
) -> list[Problem]:
    """What the rules say about the config with these values and not about the config without them."""
    changed = replace(training, values={**training.values, **parameters})
    return [
        problem
        for problem in _problems_of(changed)
        if not problem.is_warning and (problem.key, problem.message) not in known
    ]


def _problems_of(training: LoadedConfig) -> list[Problem]:
    return check_config(training, base_dir=training.path.parent, data=False, in_run=True)


def _typed(key: str, value: float) -> Scalar:
    return int(value) if is_integer(key) and value.is_integer() else value


def _asha_problems(sweep: Sweep, training: LoadedConfig, file: str) -> Iterator[Problem]:
    if sweep.method != "asha":
        return
    for key in _LENGTH_KEYS:
        if key in sweep.parameters:
            yield Problem(
                "The trials of asha are compared at the same steps, so they must be equally long.",
                "remove it, or use the method random",
                file=file,
                key=f"sweep.parameters.{key}",
                code="sweep",
            )
    if training.values.get("stage") == "rm" and training.values.get("finetuning_type", "lora") != "lora":
        yield Problem(
            "This training cannot be continued from a checkpoint, and asha stops and continues trials.",
            "use the method random, or finetuning_type: lora",
            file=file,
            key="sweep.method",
            code="sweep",
        )
    steps = training.values.get("max_steps")
    longest = [each.steps for each in rungs(sweep, sweep.trials or 1) if each.steps is not None]
    if longest and isinstance(steps, int) and 0 < steps <= longest[-1]:
        rounds = ", ".join(str(each) for each in longest)
        yield Problem(
            f"The training has {steps} steps, and trials would be compared after {rounds}.",
            "lower min_steps, or trials, or raise max_steps",
            file=file,
            key="sweep.min_steps",
            code="sweep",
        )
