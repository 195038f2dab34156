"""The model card: what a published model is, for people who find it in the registry."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

_SETTINGS = (
    "stage",
    "finetuning_type",
    "lora_rank",
    "lora_alpha",
    "quantization_bit",
    "template",
    "cutoff_len",
    "learning_rate",
    "num_train_epochs",
    "max_steps",
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
)
"""What of a training config a reader asks for first."""


def model_card(reference: str, lineage: Mapping[str, Any], paths: list[str]) -> str:
    """The README.md of a version, from its lineage and evaluation.

    Args:
        reference: ``NAME@VERSION``.
        paths: its files, which tell an adapter from a whole model.
    """
    base = lineage.get("base") or {}
    adapter = "adapter_config.json" in paths
    front = {
        "base_model": base.get("model"),
        "library_name": "peft" if adapter else "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["llama-factory", "tunery"],
        "datasets": [each.get("name") for each in lineage.get("datasets") or []],
    }
    lines = ["---", *(f"{key}: {json.dumps(value)}" for key, value in front.items() if value), "---", ""]
    lines += [f"# {reference}", "", _opening(lineage, base, adapter), ""]
    lines += _table("Evaluation", ("metric", "base model", "this model"), _metrics(lineage.get("metrics") or {}))
    config = lineage.get("training_config") or {}
    lines += _table("Training", ("setting", "value"), [(key, config[key]) for key in _SETTINGS if key in config])
    datasets = [(_dataset(each), f"`{each.get('sha256')}`") for each in lineage.get("datasets") or []]
    lines += _table("Data", ("data set", "SHA-256"), datasets)
    lines += _table("Origin", ("what", "value"), _origin(lineage, base))
    lines += ["All of it is in `lineage.json`; `tunery verify` checks every file against its recorded SHA-256.", ""]
    return "\n".join(lines)


def _opening(lineage: Mapping[str, Any], base: Mapping[str, Any], adapter: bool) -> str:
    if not base:
        return "A base model, added to the registry as it is."
    what = "A LoRA adapter for" if adapter else "A fine-tuned version of"
    steps = f", trained for {lineage['steps']:,} steps" if isinstance(lineage.get("steps"), int) else ""
    return f"{what} {_text(base.get('model'))}{steps}."


def _metrics(metrics: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    before, after = metrics.get("before") or {}, metrics.get("after") or {}
    return [(name, _number(before.get(name)), _number(value)) for name, value in sorted(after.items())]


def _origin(lineage: Mapping[str, Any], base: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    found = {
        "run": lineage.get("run"),
        "created": lineage.get("created"),
        "team": lineage.get("team"),
        "base model": base.get("model"),
        "base revision": base.get("revision"),
        "git commit": lineage.get("git_commit"),
        "seed": lineage.get("seed"),
        **(lineage.get("versions") or {}),
    }
    return [(key, value) for key, value in found.items() if value is not None]


def _table(title: str, headings: tuple[str, ...], rows: list[tuple[Any, ...]]) -> list[str]:
    if not rows:
        return []
    body = [f"| {' | '.join(_text(cell) for cell in row)} |" for row in rows]
    return [f"## {title}", "", f"| {' | '.join(headings)} |", f"|{' --- |' * len(headings)}", *body, ""]


def _dataset(each: Mapping[str, Any]) -> str:
    source = f" ({each['source']}@{each.get('revision')})" if each.get("source") else ""
    return f"{each.get('name')}{source}"


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, int | float) else "-"


def _text(value: Any) -> str:
    """A value in a table's cell: nothing in it ends the cell or begins markup."""
    return " ".join(str(value).replace("|", "\\|").replace("<", "&lt;").split())
