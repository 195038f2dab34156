"""What LLaMA-Factory's keys demand of one another.

Each rule is one row: the key to change, when it is broken, what is wrong and what to do. The rows follow the
``__post_init__`` methods of llamafactory/hparams, its parser's checks and transformers' TrainingArguments, and the
failures that come later, when the model has loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from workloads.errors import Problem
from workloads.training_config.settings import Settings, UncertainError


@dataclass(frozen=True, slots=True)
class Rule:
    """One demand.

    Attributes:
        key: the key to change.
        broken: whether a config breaks it.
        message: what is wrong.
        fix: what to do.
        code: the kind of problem; ``warn-`` before it makes it a warning.
    """

    key: str
    broken: Callable[[Settings], bool]
    message: str
    fix: str
    code: str = "conflict"


def check_rules(settings: Settings, rules: Iterable[Rule]) -> list[Problem]:
    """The problems of the rules that are broken; a rule that hangs on a wrong value says nothing."""
    found = []
    for rule in rules:
        try:
            broken = rule.broken(settings)
        except UncertainError:
            continue
        if broken:
            found.append(settings.config.problem(rule.key, rule.message, rule.fix, rule.code))
    return found
