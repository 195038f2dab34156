"""One training inside LLaMA-Factory's Trainer, with random weights, at a level or as shipped."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.gpu.architectures import ARCHITECTURES

SEED = 11
PLAIN = "plain"
LEVELS = ("flat", "lora", "layer")
_KNOBS = {"logging_nan_inf_filter": False, "dataloader_persistent_workers": True}
"""What tunery sets beside a level: the first waits for the device at each step, the second spares a fork an epoch."""


@dataclass(frozen=True, slots=True)
class Case:
    """One training.

    Attributes:
        data: which of the prepared rows it learns.
        level: plain (LLaMA-Factory as shipped), or a level of workloads.training.fast.
        training: of the training config, beside what all have.
        stored: load weights from a folder, as a person does; else they are drawn on the device.
        gradients: a file for the first step's gradients.
        young: start with LoRA's B at zero, as always; else it is drawn, so that A has gradients, too.
        profile: take a profile of two steps.
        fp32: weights and arithmetic in fp32: what others are compared with.
        limit: seconds after which it is ended.
    """

    name: str
    model: str
    data: str
    level: str = PLAIN
    training: dict[str, Any] = field(default_factory=dict)
    stored: bool = False
    gradients: str | None = None
    young: bool = True
    profile: bool = False
    fp32: bool = False
    limit: float = 90.0


def arguments(case: Case, folder: Path, output: Path) -> dict[str, Any]:
    """What LLaMA-Factory gets."""
    packed = not case.data.startswith("full")
    neat = {"packing": True, "neat_packing": case.data == "isolated"} if packed else {}
    values: dict[str, Any] = {
        "stage": "sft",
        "do_train": True,
        "model_name_or_path": str(folder / "models" / case.model),
        "train_from_scratch": not case.stored,
        "dataset_dir": str(folder),
        "dataset": "exchanges",
        "tokenized_path": str(folder / case.data),
        "template": "qwen",
        "cutoff_len": 2048 if packed else int(case.data.partition("-")[2]),
        "finetuning_type": "lora",
        "lora_rank": 8,
        "lora_target": "all",
        "bf16": True,
        "learning_rate": 1e-4,
        "lr_scheduler_type": "cosine",
        "num_train_epochs": 3,
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 1,
        "logging_steps": 10,
        "save_strategy": "no",
        "dataloader_num_workers": 4,
        "report_to": "none",
        "output_dir": str(output),
        "overwrite_output_dir": True,
        "seed": SEED,
    }
    values |= neat | ({} if case.level not in LEVELS else _KNOBS) | case.training
    if not values["dataloader_num_workers"]:
        values.pop("dataloader_persistent_workers", None)
    return values


def train(case: Case, folder: Path, output: Path) -> dict[str, Any]:
    """Trains in this process; what came of it, ready for JSON."""
    from llamafactory.train.tuner import run_exp
    from transformers import Trainer, TrainerCallback

    from workloads.bench.probe import measuring

    losses: list[Any] = []
    told: dict[str, Any] = {}

    class Gradients(TrainerCallback):  # type: ignore[misc]  # transformers is not followed by mypy
        def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
            if case.gradients is not None and state.global_step == 0:
                _write_gradients(model, Path(case.gradients))

    with ExitStack() as stack:
        probe = stack.enter_context(measuring())
        stack.enter_context(_collected_losses(losses))
        stack.enter_context(drawn_weights(case))
        if case.level != PLAIN:
            stack.enter_context(_at_level(case.level, told))
        if case.profile:
            stack.enter_context(_profiled(told))
        Trainer.save_model = lambda *_: None  # weights that nobody wants
        run_exp(arguments(case, folder, output), callbacks=[Gradients()])
    return {
        "block": None if probe.block is None else probe.block.as_dict(),
        "losses": [float(loss) for loss in losses],
        "config": ARCHITECTURES[case.model],
        **told,
    }


@contextmanager
def _at_level(level: str, told: dict[str, Any]) -> Iterator[None]:
    from workloads.training.fast.install import Installed
    from workloads.training.fast.trainer import fast_trainer
    from workloads.training_config.levels import Level

    name, _, how = level.partition("-")

    def tell(installed: Installed) -> None:
        told["installed"] = installed.level.name.lower()
        told["refused"] = [f"{each.level.name.lower()}: {each.reason}" for each in installed.refused]

    with fast_trainer(Level[name.upper()], lean=how != "keep", told=tell):
        yield


@contextmanager
def _collected_losses(losses: list[Any]) -> Iterator[None]:
    """Keeps the loss of every batch on the device, until somebody reads it."""
    from transformers import Trainer

    step = Trainer.training_step

    def kept(trainer: Any, *given: Any, **named: Any) -> Any:
        loss = step(trainer, *given, **named)
        losses.append(loss.detach().clone())
        return loss

    Trainer.training_step = kept
    try:
        yield
    finally:
        Trainer.training_step = step


@contextmanager
def drawn_weights(case: Case) -> Iterator[None]:
    """The same weights in every case: drawn in bf16 on the device, and LoRA's factors likewise."""
    import torch
    from llamafactory.model import loader, patcher
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoModelForCausalLM

    from_config, init_adapter = AutoModelForCausalLM.from_config, loader.init_adapter
    from_pretrained, infer_dtype = AutoModelForCausalLM.from_pretrained, patcher.infer_optim_dtype
    device = "cuda" if torch.cuda.is_available() else "cpu"

    def drawn(config: Any, **named: Any) -> Any:
        config.dtype = torch.bfloat16
        torch.manual_seed(SEED)
        with torch.device(device):
            model = from_config(config, **named)
        return model.to(torch.float32) if case.fp32 else model

    def loaded(config: Any, **named: Any) -> Any:
        """As from a folder, whose weights are drawn."""
        del named["pretrained_model_name_or_path"]
        kind = MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]
        with torch.device("meta"):
            shapes = kind(config).state_dict()
        generator = torch.Generator(device).manual_seed(SEED)
        weights = {}
        for name, shape in shapes.items():
            value = torch.empty(shape.shape, dtype=torch.bfloat16, device=device)
            norm = shape.dim() == 1 and "norm" in name
            weights[name] = value.fill_(1) if norm else value.normal_(0, 0.02, generator=generator)
        model = kind.from_pretrained(None, config=config, state_dict=weights, **named)
        del weights, value
        if device == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        return model

    def adapted(*given: Any, **named: Any) -> Any:
        model = init_adapter(*given, **named)
        generator = torch.Generator().manual_seed(SEED)
        for name, parameter in sorted(model.named_parameters()):
            if "lora_A" in name or ("lora_B" in name and not case.young):
                spread = 0.02 if "lora_A" in name else 0.005
                value = torch.empty(parameter.shape).normal_(0, spread, generator=generator)
                parameter.data.copy_(value.bfloat16())
        return model

    AutoModelForCausalLM.from_config, loader.init_adapter = drawn, adapted
    if not case.stored:
        AutoModelForCausalLM.from_pretrained = loaded
    if case.fp32:
        patcher.infer_optim_dtype = lambda **_: torch.float32  # LLaMA-Factory takes bf16 wherever the device has it
    try:
        yield
    finally:
        AutoModelForCausalLM.from_config, loader.init_adapter = from_config, init_adapter
        AutoModelForCausalLM.from_pretrained, patcher.infer_optim_dtype = from_pretrained, infer_dtype


def _write_gradients(model: Any, file: Path) -> None:
    import torch

    file.parent.mkdir(parents=True, exist_ok=True)
    found = {
        name.replace("module.", ""): parameter.grad.to("cpu", torch.float32)
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    }
    torch.save(found, file)


@contextmanager
def _profiled(told: dict[str, Any]) -> Iterator[None]:
    """Where the device's time goes in steps 11 and 12: the largest kernels, in microseconds a step."""
    from torch.profiler import ProfilerActivity, profile, schedule
    from transformers import TrainerCallback
    from transformers.trainer import DEFAULT_CALLBACKS

    activities = [ProfilerActivity.CPU, ProfilerActivity.CUDA]
    profiler = profile(activities=activities, schedule=schedule(wait=9, warmup=1, active=2, repeat=1))

    class Steps(TrainerCallback):  # type: ignore[misc]  # transformers is not followed by mypy
        def on_step_end(self, *_: Any, **__: Any) -> None:
            profiler.step()

    callback = Steps()
    DEFAULT_CALLBACKS.append(callback)
    try:
        with profiler:
            yield
    finally:
        DEFAULT_CALLBACKS.remove(callback)
    kernels = [each for each in profiler.key_averages() if each.device_type.name == "CUDA"]
    kernels.sort(key=lambda each: -each.self_device_time_total)
    told["kernels"] = [
        {"name": each.key[:120], "us": round(each.self_device_time_total / 2), "calls": each.count // 2}
        for each in kernels[:40]
    ]
    told["kernel_us"] = round(sum(each.self_device_time_total for each in kernels) / 2)
