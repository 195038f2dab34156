"""A config as the rules see it: with LLaMA-Factory's defaults, and silent where a value is not to be trusted."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any, Literal

from workloads.training_config.loader import LoadedConfig
from workloads.training_config.schema import facts, properties

Purpose = Literal["train", "evaluate", "export", "chat"]

# Keys of the data part that say how to talk to a model, not what to train it on.
_TALKING_KEYS = frozenset(
    {
        "cutoff_len",
        "default_system",
        "enable_thinking",
        "finetuning_type",
        "preserve_thinking",
        "template",
        "tool_format",
    }
)
_EPSILON = 1e-6  # below it LLaMA-Factory takes val_size for zero


class UncertainError(Exception):
    """The value of a key is wrong itself, so nothing follows from it."""


class Settings:
    """Effective values of one config.

    Args:
        config: the config after overrides.
        broken: keys whose values have been found wrong already.
        base_dir: where relative paths are looked for when they are not under the working directory.
    """

    def __init__(self, config: LoadedConfig, broken: Collection[str], base_dir: Path) -> None:
        self.config = config
        self.base_dir = base_dir
        self._broken = frozenset(broken)

    def __getitem__(self, key: str) -> Any:
        """The value that LLaMA-Factory would use.

        Raises:
            UncertainError: the value given is wrong.
        """
        if key in self._broken:
            raise UncertainError(key)
        if key in self.config.values:
            return self.config.values[key]
        return properties()[key].get("default")

    def given(self, key: str) -> bool:
        """Whether the config says anything about a key."""
        return self.config.values.get(key) is not None

    def names(self, key: str) -> list[str]:
        """The parts of a value such as ``a, b``, which may be written as a list too."""
        value = self[key]
        if value is None:
            return []
        return [str(part).strip() for part in (value if isinstance(value, list) else str(value).split(","))]

    def path(self, written: str) -> Path | None:
        """The file or folder that a relative path means, or None.

        LLaMA-Factory looks in the working directory, so that comes first; then the config's folder, so that a config
        means the same wherever it is checked from.
        """
        return next((place for place in self.places(written) if place.exists()), None)

    def places(self, written: str) -> list[Path]:
        """Where a relative path is looked for, in order."""
        path = Path(written).expanduser()
        return [path] if path.is_absolute() else list(dict.fromkeys((path, self.base_dir / path)))

    @property
    def purpose(self) -> Purpose:
        """What the config is for, by the keys that it has; a config that is unclear is meant to train."""
        values = self.config.values
        if values.get("do_train"):
            return "train"
        if values.get("do_eval") or values.get("do_predict"):
            return "evaluate"
        if self.given("export_dir"):
            return "export"
        return "chat" if all(_about_talking(key) for key in values) and self.given("model_name_or_path") else "train"

    @property
    def evaluates(self) -> bool:
        """Whether the trainer evaluates: an eval_strategy switches do_eval on."""
        return bool(self["do_eval"] or self["do_predict"] or self["predict_with_generate"]) or (
            self["eval_strategy"] != "no"
        )

    @property
    def held_out(self) -> float:
        """``val_size``, zero where LLaMA-Factory takes it for zero."""
        size = float(self["val_size"])
        return size if size > _EPSILON else 0.0

    @property
    def zero_stage(self) -> int:
        """The ZeRO stage of the DeepSpeed config, 0 without one.

        Raises:
            UncertainError: the config cannot be read.
        """
        value = self["deepspeed"]
        if not value:
            return 0
        try:
            if isinstance(value, str):
                path = None if value.startswith("{") else self.path(value)
                value = json.loads(value if path is None else path.read_text(encoding="utf-8"))
            return int(value.get("zero_optimization", {}).get("stage", 0))
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise UncertainError("deepspeed") from error

    def any_of(self, keys: Iterable[str]) -> bool:
        """Whether one of several switches is on."""
        return any(self[key] for key in keys)


def _about_talking(key: str) -> bool:
    known = properties().get(key)
    return known is not None and (known["x-part"] in ("model", "generation") or key in _TALKING_KEYS)


def efficient_eos(template: str | None) -> bool:
    """Whether a template ends a turn without an end token, so that prompts cannot be trained on."""
    return template in facts()["efficient_eos_templates"]
