"""The accelerator memory of a training at a level; :mod:`memory_estimate` counts LLaMA-Factory as it is.

A level changes what the backward pass keeps of a token, and how many logits there are at once. What is kept was read
from the autograd nodes (``lora_linear.py``, ``layer.py`` and ``head.py`` of ``workloads.training.fast``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from workloads.training_config.levels import Level
from workloads.training_config.memory_estimate import estimate
from workloads.training_config.model_shape import Matrix, ModelShape
from workloads.training_config.training_plan import TrainingPlan

LOGITS_AT_ONCE = 128 * 2**20
"""The head and the loss work on so many logits at a time: 0.5 GiB in fp32."""
_LOGIT_BYTES = 8  # 16-bit logits, their fp32 logarithms, 16-bit gradients
_SLACK = 0.1  # what the allocator holds but cannot use, measured on an H100 with Qwen3-4B and Llama-3-8B
_PACKING = 0.08  # likewise of the frozen weights, which the hand-written layer moves into buffers of its own


def memory_at(
    level: Level, training: Mapping[str, Any], model_config: Mapping[str, Any], tokens: int, devices: int = 1
) -> int:
    """Bytes of one accelerator.

    Args:
        training: the training config, with the changes of the preset.
        model_config: the base model's parsed config.json.
        tokens: of the longest flat row; of LLaMA-Factory as it is, the batch and ``cutoff_len`` say it.
        devices: accelerators of the training.

    Raises:
        InputError: as :func:`estimate` does.
    """
    shape = ModelShape.parse(model_config)
    # attention without a mask, as with plain packing
    plain = training if level == Level.PLAIN else {**training, "packing": True, "neat_packing": False}
    counted = estimate(plain, model_config, devices=devices)
    if level == Level.PLAIN:
        return counted.total
    plan = TrainingPlan.read(plain, shape)
    rows_of_logits = min(tokens, LOGITS_AT_ONCE // shape.vocabulary)
    logits = rows_of_logits * shape.vocabulary * _LOGIT_BYTES + tokens * shape.hidden * plan.compute_bytes
    if level == Level.FLAT:
        planned = plan.sequences * plan.tokens
        kept = round(counted.parts["activations"] * tokens / planned)
    else:
        kept = _kept(level, shape, plan, tokens)
    fixed: float = counted.total - counted.parts["activations"] - counted.parts["logits"]
    if level == Level.LAYER:
        fixed += _PACKING * shape.layer_parameters * plan.base_bytes
    return round(fixed + (1 + _SLACK) * (kept + logits))


def _kept(level: Level, shape: ModelShape, plan: TrainingPlan, tokens: int) -> int:
    """Bytes that wait for the backward pass, and what it needs of one layer while it is there."""
    number = plan.compute_bytes
    each = [(_layer if level == Level.LAYER else _linears)(shape, plan, layer) for layer in shape.layers]
    gated = max(_width(layer, ("gate_proj", "up_proj")) for layer in shape.layers)
    working = number * ((2 if level == Level.LAYER else 1) * gated + 4 * shape.hidden)
    waiting = len(each) * number * shape.hidden + max(each) if plan.checkpointing else sum(each)
    return tokens * (waiting + working)


def _layer(shape: ModelShape, plan: TrainingPlan, layer: tuple[Matrix, ...]) -> int:
    """The hand-written layer: its input, queries, keys, values, attention, the stream, gate and up."""
    gated = _width(layer, ("gate_proj", "up_proj"))
    numbers = 2 * shape.hidden + 2 * shape.query_width + 2 * shape.key_width + gated
    return plan.compute_bytes * numbers + 4 * shape.heads


def _linears(shape: ModelShape, plan: TrainingPlan, layer: tuple[Matrix, ...]) -> int:
    """A layer of transformers whose LoRA linears keep their input once."""
    number, norm = plan.compute_bytes, plan.compute_bytes if plan.liger else 4
    gated = _width(layer, ("gate_proj", "up_proj"))
    norms = norm * 2 * shape.hidden + (norm * (shape.query_width + shape.key_width) if shape.head_norms else 0)
    attention = number * 2 * (shape.query_width + shape.key_width) + 4 * shape.heads
    inner = number * gated * (2 if plan.liger else 3) // 2
    inputs = number * (2 * shape.hidden + gated // 2)
    return norms + attention + inner + inputs


def _width(layer: tuple[Matrix, ...], names: tuple[str, ...]) -> int:
    return sum(matrix.active * matrix.outputs for matrix in layer if matrix.name in names)
