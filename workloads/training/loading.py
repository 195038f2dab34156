"""The base model and the trained one, loaded by LLaMA-Factory, one after the other or as one with an adapter."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from workloads.training.arguments import inference_arguments


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model ready to evaluate, with the tokenizer and template it was trained with."""

    model: Any
    tokenizer: Any
    template: Any


def load(config: dict[str, Any], model: Path, adapter: Path | None = None) -> LoadedModel:
    """Loads a model in evaluation mode.

    Args:
        config: the training config.
        model: a folder with weights.
        adapter: a LoRA adapter for them.
    """
    from llamafactory.data import get_template_and_fix_tokenizer
    from llamafactory.hparams import get_infer_args
    from llamafactory.model import load_model, load_tokenizer

    model_args, data_args, finetuning_args, _ = get_infer_args(inference_arguments(config, model, adapter))
    tokenizer = load_tokenizer(model_args)["tokenizer"]
    template = get_template_and_fix_tokenizer(tokenizer, data_args)
    is_reward_model = config.get("stage") == "rm"
    loaded = load_model(tokenizer, model_args, finetuning_args, add_valuehead=is_reward_model)
    loaded.eval()
    return LoadedModel(loaded, tokenizer, template)


def before_and_after(
    config: dict[str, Any], base: Path, trained: Path, *, is_lora: bool
) -> Iterator[tuple[str, LoadedModel]]:
    """Yields ``("before", model)`` and then ``("after", model)``; be done with one before asking for the next.

    A LoRA adapter is put on the base model after "before", so the base weights are loaded once. A reward model has
    no "before": its value head does not exist yet.
    """
    if config.get("stage") == "rm":
        yield "after", load(config, base if is_lora else trained, trained if is_lora else None)
        return
    before = load(config, base)
    yield "before", before
    if is_lora:
        yield "after", _with_adapter(before, trained)
    else:
        yield "after", load(config, trained)


def load_trained(config: dict[str, Any], base: Path, trained: Path, *, is_lora: bool) -> LoadedModel:
    """The model that :func:`before_and_after` gives last: metrics of the two are equal to the last bit."""
    if is_lora and config.get("stage") != "rm":
        return _with_adapter(load(config, base), trained)
    return load(config, base if is_lora else trained, trained if is_lora else None)


def _with_adapter(loaded: LoadedModel, adapter: Path) -> LoadedModel:
    """The adapter beside the base weights; LLaMA-Factory would merge it, which rounds."""
    from peft import PeftModel

    return replace(loaded, model=PeftModel.from_pretrained(loaded.model, adapter).eval())
