"""Rules about the fine-tuning method, quantization and what runs the model."""

from __future__ import annotations

from workloads.training_config.rules import Rule
from workloads.training_config.settings import Settings

_PROJECTED = ("use_galore", "use_apollo")
_MEMORY_OPTIMIZERS = (*_PROJECTED, "use_badam")
_BITS = {"bnb": (4, 8), "hqq": (1, 2, 3, 4, 5, 6, 8), "eetq": (8,)}


def _quantized(s: Settings) -> bool:
    return s["quantization_bit"] is not None


def _wrong_bits(s: Settings) -> bool:
    bits = _BITS.get(s["quantization_method"])
    return _quantized(s) and bits is not None and s["quantization_bit"] not in bits


def _has_reference_model(s: Settings) -> bool:
    return bool(s["stage"] == "dpo" and s["pref_loss"] not in ("orpo", "simpo"))


def _only_lora(key: str) -> Rule:
    return Rule(
        key,
        lambda s: s["finetuning_type"] != "lora" and s[key] not in (None, False),
        f"{key} belongs to LoRA training, and finetuning_type is not lora.",
        f"remove {key}, or set finetuning_type: lora",
    )


METHOD_RULES = (
    Rule(
        "stage",
        lambda s: s["stage"] == "ppo",
        "PPO cannot run: LLaMA-Factory 0.9.5 needs trl >= 0.18, and its PPO trainer needs trl <= 0.9.6.",
        "use stage: dpo or stage: kto with preference data",
        "ppo",
    ),
    _only_lora("loraplus_lr_ratio"),
    _only_lora("use_rslora"),
    _only_lora("use_dora"),
    _only_lora("pissa_init"),
    Rule(
        "adapter_name_or_path",
        lambda s: s["adapter_name_or_path"] is not None and s["finetuning_type"] != "lora",
        "An adapter can be loaded only with LoRA.",
        "remove adapter_name_or_path, or set finetuning_type: lora",
    ),
    Rule(
        "use_llama_pro",
        lambda s: s["use_llama_pro"] and s["finetuning_type"] == "full",
        "use_llama_pro trains the added blocks only, which full tuning does not.",
        "set finetuning_type: freeze or lora",
    ),
    Rule(
        "finetuning_type",
        lambda s: s["finetuning_type"] == "lora" and s.any_of(_MEMORY_OPTIMIZERS),
        "GaLore, APOLLO and BAdam do not work with LoRA.",
        "set finetuning_type: full, or turn them off",
    ),
    Rule(
        "use_galore",
        lambda s: sum(bool(s[key]) for key in _MEMORY_OPTIMIZERS) > 1,
        "Only one of GaLore, APOLLO and BAdam can be on.",
        "keep one of use_galore, use_apollo and use_badam",
    ),
    Rule(
        "galore_layerwise",
        lambda s: s["use_galore"] and s["galore_layerwise"] and s["gradient_accumulation_steps"] != 1,
        "Layer-wise GaLore cannot accumulate gradients.",
        "set gradient_accumulation_steps: 1",
    ),
    Rule(
        "apollo_layerwise",
        lambda s: s["use_apollo"] and s["apollo_layerwise"] and s["gradient_accumulation_steps"] != 1,
        "Layer-wise APOLLO cannot accumulate gradients.",
        "set gradient_accumulation_steps: 1",
    ),
    Rule(
        "optim",
        lambda s: s.any_of(_PROJECTED) and s["optim"] == "adamw_torch_fused",
        "GaLore and APOLLO fail with the optimizer adamw_torch_fused, transformers 5's default.",
        "set optim: adamw_torch",
        "warn-optimizer",
    ),
    Rule(
        "dpo_label_smoothing",
        lambda s: s["stage"] == "dpo" and s["pref_loss"] != "sigmoid" and s["dpo_label_smoothing"] > 1e-6,
        "Label smoothing works only with the sigmoid loss.",
        "set pref_loss: sigmoid, or remove dpo_label_smoothing",
    ),
    Rule(
        "pissa_init",
        lambda s: s["pissa_init"] and (s["stage"] in ("ppo", "kto") or _has_reference_model(s)),
        "PiSSA cannot be used in a stage that compares with a reference model.",
        "remove pissa_init",
    ),
    Rule(
        "ref_model_quantization_bit",
        lambda s: s["ref_model_quantization_bit"] not in (None, 4, 8),
        "The reference model can be quantized to 4 or 8 bits only.",
        "write 4 or 8",
    ),
    Rule(
        "reward_model_quantization_bit",
        lambda s: s["reward_model_quantization_bit"] not in (None, 4, 8),
        "The reward model can be quantized to 4 or 8 bits only.",
        "write 4 or 8",
    ),
    # Quantization.
    Rule(
        "quantization_bit",
        lambda s: _quantized(s) and s["finetuning_type"] not in ("lora", "oft"),
        "A quantized model can be trained only with LoRA or OFT: its own weights cannot change.",
        "set finetuning_type: lora, or remove quantization_bit",
        "quantization",
    ),
    Rule(
        "quantization_bit",
        _wrong_bits,
        "This quantization_method does not know this number of bits: bnb takes 4 or 8, hqq 1 to 6 or 8, eetq 8.",
        "change quantization_bit or quantization_method",
        "quantization",
    ),
    Rule(
        "pissa_init",
        lambda s: _quantized(s) and s["finetuning_type"] in ("lora", "oft") and s["pissa_init"],
        "PiSSA cannot start from a model that is quantized while it loads.",
        "remove pissa_init or quantization_bit",
        "quantization",
    ),
    Rule(
        "resize_vocab",
        lambda s: _quantized(s) and s["resize_vocab"],
        "The vocabulary of a quantized model cannot be resized.",
        "remove resize_vocab or quantization_bit",
        "quantization",
    ),
    Rule(
        "create_new_adapter",
        lambda s: _quantized(s) and s["adapter_name_or_path"] is not None and s["create_new_adapter"],
        "No new adapter can be put on a quantized model that has one.",
        "remove create_new_adapter, or merge the first adapter into the model",
        "quantization",
    ),
    Rule(
        "adapter_name_or_path",
        lambda s: _quantized(s) and len(s.names("adapter_name_or_path")) > 1,
        "A quantized model takes a single adapter.",
        "merge the adapters first",
        "quantization",
    ),
    Rule(
        "export_dir",
        lambda s: _quantized(s) and s["export_dir"] is not None and s["adapter_name_or_path"] is not None,
        "An adapter cannot be merged into a quantized base.",
        "remove quantization_bit: an adapter trained on a quantized base is merged into the full one",
        "quantization",
    ),
    Rule(
        "export_quantization_bit",
        lambda s: s["export_quantization_bit"] is not None and s["export_quantization_dataset"] is None,
        "Quantizing the exported model needs data.",
        "set export_quantization_dataset",
        "quantization",
    ),
    Rule(
        "export_quantization_bit",
        lambda s: s["export_quantization_bit"] not in (None, 2, 3, 4, 8),
        "The exported model can be quantized to 2, 3, 4 or 8 bits only.",
        "write 2, 3, 4 or 8",
        "quantization",
    ),
    Rule(
        "export_quantization_bit",
        lambda s: None not in (s["export_dir"], s["export_quantization_bit"], s["adapter_name_or_path"]),
        "A model is quantized after its adapters are merged, in a second export.",
        "export once with the adapter, then the merged model with export_quantization_bit",
        "quantization",
    ),
    Rule(
        "quantization_device_map",
        lambda s: s["do_train"] and s["quantization_device_map"] == "auto",
        "quantization_device_map is for inference only.",
        "remove it",
        "quantization",
    ),
    Rule(
        "fp8",
        lambda s: _quantized(s) and s["fp8"],
        "FP8 training does not work with a quantized model.",
        "remove fp8 or quantization_bit",
        "quantization",
    ),
    # Other ways to run the model.
    Rule(
        "infer_backend",
        lambda s: s.purpose in ("train", "evaluate") and s["infer_backend"] != "huggingface",
        "vLLM and SGLang serve models; a training uses huggingface.",
        "remove infer_backend",
    ),
    Rule(
        "use_unsloth",
        lambda s: s["use_unsloth"] and s["finetuning_type"] == "oft",
        "Unsloth does not support OFT.",
        "set finetuning_type: lora, or remove use_unsloth",
    ),
    Rule(
        "use_kt",
        lambda s: s["use_kt"] and s["finetuning_type"] != "lora",
        "KTransformers supports only LoRA.",
        "set finetuning_type: lora, or remove use_kt",
    ),
    Rule(
        "use_kt",
        lambda s: s["use_kt"] and s.any_of(("predict_with_generate", "compute_accuracy")),
        "KTransformers supports neither predict_with_generate nor compute_accuracy.",
        "remove them, or use_kt",
    ),
)
