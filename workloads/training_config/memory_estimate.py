"""How much accelerator memory a training needs, by part, from its config and the base model's config.json.

What is counted follows LLaMA-Factory 0.9.5: trained weights are fp32 unless ``pure_bf16`` (model/adapter.py), gradient
checkpointing is on unless ``disable_gradient_checkpointing``, and the loss works on fp32 logits unless Liger takes
them in pieces. Activations are counted as autograd keeps them: the inputs of norms, attention, the gated unit, and of
each matrix that learns. Rows are taken to be ``cutoff_len`` long, the longest there can be. The parts are those of the
worst moment, so a part that fits in room that another has left by then counts less than it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from workloads.errors import InputError
from workloads.training_config.model_shape import Matrix, ModelShape
from workloads.training_config.training_plan import TrainingPlan, whole_number

GB = 1_000_000_000
_CONTEXT_BYTES = 0.8e9  # what CUDA and cuBLAS take, measured on an H100
_SLACK, _MOST_SLACK_BYTES, _MOST_LIGER_SLACK_BYTES = 0.15, 1.8e9, 1.5e9
"""What PyTorch's allocator holds but cannot use, measured likewise (docs/gpu-figures.md)."""
_REUSED_LOGIT_BYTES = 2.5e9
"""Where layers are made again beside whole logits, the allocator finds no use for fp32 logits larger than this."""
_COMMUNICATION_BYTES = 2e9  # NCCL's buffers and DeepSpeed's buckets
_QUANTIZED_BYTES = {4: 0.516, 8: 1.002}  # a weight with its share of scales (double quantization for 4 bits)
_FULL_RESIDUAL_BYTES = 3  # of each number of the stream between layers, where all weights are trained; measured
_LOGIT_BYTES = 12  # 16-bit logits, fp32 log-probabilities and their fp32 gradient at the start of the backward pass
_REWARD_LOGIT_BYTES = 6  # a reward model makes logits, too, but learns nothing from them


@dataclass(frozen=True, slots=True)
class Estimate:
    """The memory of one accelerator, in bytes by part.

    Attributes:
        parameters: of the model, without adapters.
        trained: parameters that are trained, over all accelerators.
        exact: whether the parameters were counted exactly.
        devices: how many accelerators share the training.
    """

    parts: Mapping[str, int]
    parameters: int
    trained: int
    exact: bool
    devices: int

    @property
    def total(self) -> int:
        """Bytes of all parts."""
        return sum(self.parts.values())

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``: parts and total in bytes."""
        return {
            "parts": dict(self.parts),
            "total": self.total,
            "parameters": self.parameters,
            "trained": self.trained,
            "exact": self.exact,
            "devices": self.devices,
        }


def estimate(
    training: Mapping[str, Any],
    model_config: Mapping[str, Any],
    *,
    parameters: int | None = None,
    devices: int = 1,
) -> Estimate:
    """Estimates the memory of one accelerator of a training.

    Args:
        training: the training config; ``deepspeed`` may be a path, JSON text or a mapping.
        model_config: the base model's parsed config.json.
        parameters: the model's parameters, where they are known better than its config.json tells.
        devices: accelerators of the training. Only ZeRO and FSDP split its memory over them.

    Raises:
        InputError: a size is missing or is no number, or LoRA's target is no module of the model.
    """
    shape = ModelShape.parse(model_config)
    plan = TrainingPlan.read(training, shape)
    total = parameters or shape.parameters
    adapters = _adapter_parameters(training, shape) if plan.method == "lora" else 0
    trained = adapters or _trained_parameters(training, shape, total, plan)
    split = [devices if plan.zero.stage >= stage else 1 for stage in range(4)]
    logits = _logit_bytes(shape, plan)
    kept = _activation_bytes(training, shape, plan, logits)
    gradients = trained * plan.trained_bytes / split[2]
    if devices > 1 and plan.zero.stage == 0:
        gradients *= 2  # each process also holds the buckets that are summed over the accelerators
    elif whole_number(training, "gradient_accumulation_steps", 1) == 1:
        gradients = max(0.0, gradients - kept - logits)  # they come as activations go
    weights = _weight_bytes(shape, plan, total, 0 if adapters else trained)
    if plan.reference_model:
        weights += total * plan.base_bytes
    parts = {
        "weights": 0.0 if plan.zero.offload_weights else weights / split[3],
        "adapters": adapters * plan.trained_bytes / split[3],
        "gradients": gradients,
        "optimizer": 0.0 if plan.zero.offload_optimizer else trained * plan.optimizer_bytes / split[1],
        "activations": kept,
        "logits": logits,
    }
    parts["overhead"] = (
        _CONTEXT_BYTES
        + _slack_bytes(plan, sum(parts.values()), logits)
        + _working_bytes(shape, plan)
        + (_COMMUNICATION_BYTES if devices > 1 else 0)
    )
    return Estimate({name: round(size) for name, size in parts.items()}, total, trained, shape.exact, devices)


def _slack_bytes(plan: TrainingPlan, used: float, logits: float) -> float:
    if plan.liger:
        return min(_MOST_LIGER_SLACK_BYTES, _SLACK * used)
    unused = max(0.0, logits * 4 / _LOGIT_BYTES - _REUSED_LOGIT_BYTES) if plan.checkpointing else 0.0
    return min(_MOST_SLACK_BYTES, _SLACK * used) + unused


def _adapter_parameters(training: Mapping[str, Any], shape: ModelShape) -> int:
    rank = whole_number(training, "lora_rank", 8)
    dora = bool(training.get("use_dora"))
    chosen = [matrix for matrix in shape.matrices if _is_target(training, matrix)]
    if not chosen:
        names = sorted({matrix.name for matrix in shape.matrices if matrix.lora})
        raise InputError.of(
            f"lora_target {training.get('lora_target')!r} names no module of this model.",
            f"write all, or some of {', '.join(names)}",
            key="lora_target",
        )
    more = len(_names(training.get("additional_target"))) * shape.vocabulary * shape.hidden
    return more + sum(rank * (m.inputs + m.outputs) + (m.outputs if dora else 0) for m in chosen)


def _is_target(training: Mapping[str, Any], matrix: Matrix) -> bool:
    names = _names(training.get("lora_target", "all"))
    return matrix.lora and ("all" in names or matrix.name in names)


def _names(value: Any) -> list[str]:
    parts = value if isinstance(value, list) else str(value or "").split(",")
    return [str(part).strip() for part in parts if str(part).strip()]


def _trained_parameters(training: Mapping[str, Any], shape: ModelShape, total: int, plan: TrainingPlan) -> int:
    if plan.method == "full":
        return total
    layers = shape.layers[-_trained_layers(training, shape) :]
    return sum(matrix.parameters for layer in layers for matrix in layer) + len(layers) * shape.norms


def _trained_layers(training: Mapping[str, Any], shape: ModelShape) -> int:
    count = training.get("freeze_trainable_layers", 2)
    if not isinstance(count, int) or isinstance(count, bool) or count == 0:
        raise InputError.of(
            f"freeze_trainable_layers is {count!r}, not a whole number other than 0.",
            "write 2 for the last two layers, -2 for the first two",
            key="freeze_trainable_layers",
        )
    return min(abs(count), len(shape.layers))


def _weight_bytes(shape: ModelShape, plan: TrainingPlan, total: int, trained: int) -> float:
    """Bytes of all weights; ``trained`` of them are kept as trained weights are."""
    if plan.quantization_bit is not None:
        each = _QUANTIZED_BYTES.get(plan.quantization_bit, plan.quantization_bit / 8)
        return shape.layer_parameters * each + (total - shape.layer_parameters) * plan.base_bytes
    # mixed arithmetic on fp32 weights works on 16-bit copies, which live until their layer's backward pass
    copies = 2 if plan.mixed and plan.trained_bytes == 4 else 0
    return (total - trained) * plan.base_bytes + trained * (plan.trained_bytes + copies)


def _activation_bytes(training: Mapping[str, Any], shape: ModelShape, plan: TrainingPlan, logits: float) -> float:
    each = [_layer_bytes(training, shape, layer, plan) for layer in shape.layers]
    residual = _residual_bytes(plan) * shape.hidden
    rows = plan.sequences * plan.tokens
    if plan.checkpointing:
        inputs = rows * (len(each) * residual + 4 * shape.hidden)
        again = max(each) + _gradient_bytes(shape, plan)
        return inputs + max(0.0, rows * again - logits)  # a layer is made again when the logits are gone
    learning = each[-_trained_layers(training, shape) :] if plan.method == "freeze" else each
    if plan.method == "full":
        rows_kept = _FULL_RESIDUAL_BYTES * shape.hidden * rows * len(learning)
        return rows * (sum(learning) + 4 * shape.hidden) + rows_kept
    return rows * (sum(learning) + 4 * shape.hidden)


def _gradient_bytes(shape: ModelShape, plan: TrainingPlan) -> float:
    """Of one token, the gradients of the gated unit, which are there beside the layer that was made again."""
    widest = max(
        sum(m.active * m.outputs for m in layer if m.name in ("gate_proj", "up_proj")) for layer in shape.layers
    )
    return float(plan.compute_bytes * widest)


def _residual_bytes(plan: TrainingPlan) -> int:
    """Bytes of one number of the stream between layers: fp32 where the embedding is."""
    return 4 if plan.method == "full" and plan.trained_bytes == 4 else plan.compute_bytes


def _layer_bytes(
    training: Mapping[str, Any], shape: ModelShape, layer: tuple[Matrix, ...], plan: TrainingPlan
) -> float:
    """What the backward pass of one layer needs of one token."""
    number, residual = plan.compute_bytes, _residual_bytes(plan)
    trains = plan.method != "lora"
    norms = 2 * shape.hidden * (residual if plan.liger else 4 + (number if trains else 0))
    if shape.head_norms:
        norms += (shape.query_width + shape.key_width) * (number if plan.liger else 4)
    keys = shape.query_width if plan.masked else shape.key_width
    attention = number * 2 * (shape.query_width + keys) + 4 * shape.heads
    if plan.eager:
        attention += shape.heads * plan.tokens * (4 + number)
    gated = sum(m.active * m.outputs for m in layer if m.name in ("gate_proj", "up_proj"))
    inner = number * (gated if plan.liger else gated * 3 / 2)
    learning = [matrix for matrix in layer if trains or _is_target(training, matrix)]
    # Where inputs are cast for each matrix, each keeps its own copy; else those with one input share it.
    shared = not plan.mixed or (trains and plan.trained_bytes == 2)
    inputs = {m.name if not shared or m.name in ("o_proj", "down_proj") else m.inputs: m for m in learning}
    own = number * sum(m.active * m.inputs for m in inputs.values() if not (shared and m.name == "o_proj"))
    return norms + attention + inner + own


def _logit_bytes(shape: ModelShape, plan: TrainingPlan) -> float:
    rows = plan.sequences * plan.tokens
    if plan.liger and plan.stage in ("sft", "pt"):  # LLaMA-Factory keeps whole logits for the other stages
        pieces = -(-shape.vocabulary // shape.hidden)
        rows_at_once = 1 << max(0, (-(-rows // pieces) - 1).bit_length())
        return min(rows, rows_at_once) * shape.vocabulary * 10 + rows * shape.hidden * plan.compute_bytes
    return rows * shape.vocabulary * (_REWARD_LOGIT_BYTES if plan.stage == "rm" else _LOGIT_BYTES)


def _working_bytes(shape: ModelShape, plan: TrainingPlan) -> float:
    """Room for a matrix in 16 bits while it is used, or for two layers that ZeRO-3 has gathered."""
    if plan.zero.stage == 3:
        return 2 * plan.base_bytes * max(sum(m.parameters for m in layer) for layer in shape.layers)
    if plan.quantization_bit == 8:
        # bitsandbytes keeps each matrix's own 16-bit input, and makes products in 32 bits (autograd/_functions.py)
        rows, layer = plan.sequences * plan.tokens, shape.layers[0]
        kept = 2 * sum(m.inputs for m in layer) + 6 * max(m.outputs for m in layer)
        return 2 * max(m.parameters for m in shape.matrices) + rows * kept
    if plan.quantization_bit is not None:
        return 2 * max(m.parameters for m in shape.matrices)
    return 0.0
