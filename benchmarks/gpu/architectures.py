"""Public model architectures, by the sizes on their model cards; weights are drawn at random where they are needed."""

from __future__ import annotations

from typing import Any

_COMMON = {
    "hidden_act": "silu",
    "initializer_range": 0.02,
    "max_position_embeddings": 32768,
    "rms_norm_eps": 1e-6,
    "dtype": "bfloat16",
    "use_cache": True,
    "attention_dropout": 0.0,
}


def _sizes(hidden: int, inner: int, layers: int, heads: int, keys: int, words: int, tied: bool) -> dict[str, Any]:
    return {
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": keys,
        "vocab_size": words,
        "tie_word_embeddings": tied,
    }


def _qwen3(*sizes: Any) -> dict[str, Any]:
    named = {"model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"], "head_dim": 128, "rope_theta": 1e6}
    return {**_COMMON, **named, "attention_bias": False, **_sizes(*sizes)}


def _qwen2(*sizes: Any) -> dict[str, Any]:
    named = {"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], "rope_theta": 1e6}
    return {**_COMMON, **named, "use_sliding_window": False, **_sizes(*sizes)}


def _llama(head: int, *sizes: Any) -> dict[str, Any]:
    named = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "rope_theta": 5e5, "head_dim": head}
    return {**_COMMON, **named, "attention_bias": False, "mlp_bias": False, "rms_norm_eps": 1e-5, **_sizes(*sizes)}


def _mistral(*sizes: Any) -> dict[str, Any]:
    named = {"model_type": "mistral", "architectures": ["MistralForCausalLM"], "rope_theta": 1e6, "head_dim": 128}
    return {**_COMMON, **named, "sliding_window": None, "rms_norm_eps": 1e-5, **_sizes(*sizes)}


ARCHITECTURES: dict[str, dict[str, Any]] = {
    "tiny": _qwen3(128, 256, 2, 4, 2, 16384, True) | {"head_dim": 32, "dtype": "float32"},
    "qwen2.5-0.5b": _qwen2(896, 4864, 24, 14, 2, 151936, True),
    "qwen3-0.6b": _qwen3(1024, 3072, 28, 16, 8, 151936, True),
    "llama-3.2-1b": _llama(64, 2048, 8192, 16, 32, 8, 128256, True),
    "qwen3-1.7b": _qwen3(2048, 6144, 28, 16, 8, 151936, True),
    "qwen3-4b": _qwen3(2560, 9728, 36, 32, 8, 151936, True),
    "mistral-7b": _mistral(4096, 14336, 32, 32, 8, 32768, False),
    "qwen2.5-7b": _qwen2(3584, 18944, 28, 28, 4, 152064, False),
    "llama-3-8b": _llama(128, 4096, 14336, 32, 32, 8, 128256, False),
}
