"""What transformers 5 writes, so that the transformers 4 of a vLLM image reads the same out of it.

Each form that is added or put in the place of another one is read by transformers 5 as well.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from workloads.storage.atomic import read_json, write_json

_OUTSIDE = ("rope_theta", "partial_rotary_factor")
"""Keys that transformers 4 has beside ``rope_scaling``, and transformers 5 in ``rope_parameters``."""
_LAYERS_WITH_ALL, _LAYERS_WITH_SOME = "full_attention", "sliding_attention"


def make_portable(folder: Path) -> None:
    """Rewrites the config and the tokenizer's config in a folder with a model or an adapter."""
    for name, rewritten in (("tokenizer_config.json", _tokenizer), ("config.json", _model)):
        before = read_json(folder / name)
        if isinstance(before, dict) and (after := rewritten(before)) != before:
            write_json(folder / name, after)


def _tokenizer(config: dict[str, Any]) -> dict[str, Any]:
    """A class and a form of the special tokens that transformers 4 knows; the tokenizer itself is in tokenizer.json."""
    changed = dict(config)
    if changed.get("tokenizer_class") == "TokenizersBackend":
        changed["tokenizer_class"] = "PreTrainedTokenizerFast"
    if isinstance(changed.get("extra_special_tokens"), list):  # transformers 4 fails on it: there it is a mapping
        changed.setdefault("additional_special_tokens", changed.pop("extra_special_tokens"))
    return changed


def _model(config: dict[str, Any]) -> dict[str, Any]:
    """The rotary embedding in the keys of transformers 4 too.

    transformers 4 passes over ``rope_parameters``, and takes the default of the model's class without a word: the
    model then loads and answers nonsense.
    """
    changed = {key: _model(value) if isinstance(value, dict) else value for key, value in config.items()}
    rope = config.get("rope_parameters")
    if not isinstance(rope, dict):
        return changed
    if _LAYERS_WITH_ALL in rope:
        local = rope.get(_LAYERS_WITH_SOME) or {}
        if "rope_theta" in local:
            changed["rope_local_base_freq"] = local["rope_theta"]
        rope = rope[_LAYERS_WITH_ALL]
    changed |= {key: rope[key] for key in _OUTSIDE if key in rope}
    if rope.get("rope_type", "default") != "default":
        changed["rope_scaling"] = {key: value for key, value in rope.items() if key not in _OUTSIDE}
    return changed
