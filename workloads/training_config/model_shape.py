"""The shape of a decoder model, read from its config.json, and what follows from it: matrices and parameters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from workloads.errors import InputError

_EXACT = ("llama", "mistral", "qwen2", "qwen3", "mixtral", "qwen2_moe", "qwen3_moe")
"""The families whose parameters are counted exactly; others are taken for a Llama of the same sizes."""
_QKV_BIAS = ("qwen2", "qwen2_moe")
_HEAD_NORMS = ("qwen3", "qwen3_moe")
_DTYPE_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}


@dataclass(frozen=True, slots=True)
class Matrix:
    """One kind of linear module of one layer: ``count`` matrices of shape (outputs, inputs), each with a bias or not.

    ``lora`` tells whether it is a module that LoRA can name; ``active`` how many of the ``count`` a token passes.
    """

    name: str
    inputs: int
    outputs: int
    bias: bool = False
    count: int = 1
    active: int = 1
    lora: bool = True

    @property
    def parameters(self) -> int:
        return self.count * (self.inputs * self.outputs + (self.outputs if self.bias else 0))


@dataclass(frozen=True, slots=True)
class ModelShape:
    """The sizes of a decoder model.

    Attributes:
        family: ``model_type`` of its config.json.
        layers: the matrices of each layer, one tuple a layer.
        norms: weights of the norms of one layer.
        query_width, key_width: numbers in the queries, and in the keys or values, of one token.
        head_norms: whether queries and keys are normalised, as in Qwen3.
        tied: whether the output shares the weights of the input embedding.
        weight_bytes: bytes of one stored weight.
        exact: whether the parameters are counted exactly for this family.
    """

    family: str
    hidden: int
    vocabulary: int
    layers: tuple[tuple[Matrix, ...], ...]
    norms: int
    heads: int
    query_width: int
    key_width: int
    head_norms: bool
    tied: bool
    weight_bytes: int
    exact: bool

    @property
    def matrices(self) -> Iterator[Matrix]:
        """Every linear module of every layer."""
        return (matrix for layer in self.layers for matrix in layer)

    @property
    def layer_parameters(self) -> int:
        """Parameters of the linear modules of all layers: what quantization shrinks."""
        return sum(matrix.parameters for matrix in self.matrices)

    @property
    def embedding_parameters(self) -> int:
        """Parameters of the input embedding and, where it is not tied, the output head."""
        return self.vocabulary * self.hidden * (1 if self.tied else 2)

    @property
    def parameters(self) -> int:
        """All parameters."""
        return self.layer_parameters + self.embedding_parameters + len(self.layers) * self.norms + self.hidden

    @classmethod
    def parse(cls, config: Mapping[str, Any], file: str | None = None) -> ModelShape:
        """Reads a parsed config.json; of a model with images or sound, only the text part is counted.

        Raises:
            InputError: a size that every decoder has is missing or is no positive whole number.
        """
        text = config.get("text_config")
        if isinstance(text, Mapping):
            config = {**config, **text}
        sizes = _Sizes(config, file)
        family = str(config.get("model_type", "unknown"))
        hidden, heads = sizes.number("hidden_size"), sizes.number("num_attention_heads")
        head_width = sizes.number("head_dim", hidden // heads)
        key_width = sizes.number("num_key_value_heads", heads) * head_width
        attention = _attention(config, family, hidden, heads * head_width, key_width)
        head_norms = family in _HEAD_NORMS
        return cls(
            family=family,
            hidden=hidden,
            vocabulary=sizes.number("vocab_size"),
            layers=tuple(
                (*attention, *_feed_forward(config, sizes, family, hidden, number))
                for number in range(sizes.number("num_hidden_layers"))
            ),
            norms=2 * hidden + (2 * head_width if head_norms else 0),
            heads=heads,
            query_width=heads * head_width,
            key_width=key_width,
            head_norms=head_norms,
            tied=bool(config.get("tie_word_embeddings", False)),
            weight_bytes=_DTYPE_BYTES.get(str(config.get("dtype") or config.get("torch_dtype")), 2),
            exact=family in _EXACT and not isinstance(text, Mapping),
        )


class _Sizes:
    """Reads sizes and complains by key."""

    def __init__(self, config: Mapping[str, Any], file: str | None) -> None:
        self._config, self._file = config, file

    def number(self, key: str, default: int | None = None) -> int:
        value = self._config.get(key)
        value = default if value is None else value
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
        what = "is missing" if value is None else f"is {value!r}, not a positive whole number"
        raise InputError.of(
            f"{key} {what}: this is not the config.json of a decoder language model.",
            "name the config.json that lies beside the model's weights",
            file=self._file,
            key=key,
        )


def _attention(config: Mapping[str, Any], family: str, hidden: int, query: int, key: int) -> tuple[Matrix, ...]:
    every = bool(config.get("attention_bias", False))
    three = every or family in _QKV_BIAS
    return (
        Matrix("q_proj", hidden, query, three),
        Matrix("k_proj", hidden, key, three),
        Matrix("v_proj", hidden, key, three),
        Matrix("o_proj", query, hidden, every and family not in _QKV_BIAS),
    )


def _feed_forward(config: Mapping[str, Any], sizes: _Sizes, family: str, hidden: int, layer: int) -> tuple[Matrix, ...]:
    experts = config.get("num_experts") or config.get("num_local_experts")  # one thing under two names
    sparse_every = int(config.get("decoder_sparse_step") or 1)
    dense = not experts or layer in (config.get("mlp_only_layers") or ()) or (layer + 1) % sparse_every
    if dense:
        return _gated(hidden, sizes.number("intermediate_size"), bool(config.get("mlp_bias", False)))
    count, active = int(experts or 0), sizes.number("num_experts_per_tok", 2)
    width = sizes.number("intermediate_size" if family == "mixtral" else "moe_intermediate_size")
    router = Matrix("gate", hidden, count, lora=False)
    shared = config.get("shared_expert_intermediate_size") if family == "qwen2_moe" else None
    beside = (*_gated(hidden, int(shared)), Matrix("shared_expert_gate", hidden, 1)) if shared else ()
    # transformers 5 keeps all experts of a layer in one tensor, which LoRA's target `all` does not find
    return (*_gated(hidden, width, count=count, active=active, lora=False), router, *beside)


def _gated(
    hidden: int, width: int, bias: bool = False, *, count: int = 1, active: int = 1, lora: bool = True
) -> tuple[Matrix, ...]:
    def matrix(name: str, inputs: int, outputs: int) -> Matrix:
        return Matrix(name, inputs, outputs, bias, count, active, lora)

    return matrix("gate_proj", hidden, width), matrix("up_proj", hidden, width), matrix("down_proj", width, hidden)
