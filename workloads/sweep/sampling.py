"""The trials of a sweep, drawn by optuna: all of them before the first one starts, and the same for the same seed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from workloads.errors import UnavailableError
from workloads.run_spec import Parameter, Scalar, Sweep
from workloads.sweep.space import is_integer, most_trials, points

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

Parameters = Mapping[str, Scalar]
"""Key of the training config -> value, in the order of the spec."""

_DRAWS_PER_TRIAL = 20


def sample(sweep: Sweep) -> list[dict[str, Scalar]]:
    """The parameters of every trial; no two trials are the same.

    Fewer than ``trials`` come back when there are not so many different ones.

    Raises:
        UnavailableError: optuna is not installed.
    """
    try:
        import optuna
    except ImportError:
        raise UnavailableError.of("A sweep needs optuna.", "pip install 'tunery[sweep]'") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    count = most_trials(sweep)
    distributions = {key: _distribution(sweep, key, each) for key, each in sweep.parameters.items()}
    sampler = _grid(sweep) if sweep.method == "grid" else optuna.samplers.RandomSampler(seed=sweep.seed)
    study = optuna.create_study(sampler=sampler)
    found: list[dict[str, Scalar]] = []
    for _ in range(count * (1 if sweep.method == "grid" else _DRAWS_PER_TRIAL)):
        if len(found) == count:
            break
        # With distributions given, all parameters are drawn before this returns.
        drawn = study.ask(distributions)
        parameters = {key: _value(sweep, key, drawn.params[key]) for key in sweep.parameters}
        if not any(_same(parameters, other) for other in found):
            found.append(parameters)
    return found


def _distribution(sweep: Sweep, key: str, parameter: Parameter) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if parameter.values is not None or sweep.method == "grid":
        # By position: optuna takes 1, 1.0 and True for the same choice.
        return CategoricalDistribution(range(len(points(key, parameter))))
    low, high = _range(key, parameter)
    if is_integer(key):
        return IntDistribution(int(low), int(high), log=parameter.log)
    return FloatDistribution(low, high, log=parameter.log)


def _grid(sweep: Sweep) -> Any:
    from optuna.samplers import GridSampler

    return GridSampler({key: list(range(len(points(key, each)))) for key, each in sweep.parameters.items()}, sweep.seed)


def _value(sweep: Sweep, key: str, drawn: Any) -> Scalar:
    parameter = sweep.parameters[key]
    if parameter.values is not None or sweep.method == "grid":
        return points(key, parameter)[int(drawn)]
    # 6 digits say enough of a rate that was drawn at random, and can be read and typed again.
    if is_integer(key):
        return int(drawn)
    low, high = _range(key, parameter)
    return min(max(float(f"{drawn:.6g}"), low), high)


def _range(key: str, parameter: Parameter) -> tuple[float, float]:
    if parameter.min is None or parameter.max is None:
        raise ValueError(f"{key} has no range")
    return parameter.min, parameter.max


def _same(one: Parameters, other: Parameters) -> bool:
    return all(type(one[key]) is type(other[key]) and one[key] == other[key] for key in one)
