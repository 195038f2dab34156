"""export: the trained model as one folder that transformers, vLLM and LLaMA-Factory load."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from workloads.stages.context import RunContext
from workloads.stages.portable import make_portable
from workloads.stages.runner import main
from workloads.storage import manifest
from workloads.training.arguments import inference_arguments

_ONLY_OF_TRAINING = ("training_args.bin", "README.md", "train_results.json", "all_results.json", "trainer_state.json")


def run(context: RunContext) -> dict[str, Any]:
    """Writes ``export/``, manifest last."""
    staging = context.paths.export.with_name("export.partial")
    shutil.rmtree(staging, ignore_errors=True)
    if context.spec.export.merge or not context.is_lora:
        _merge(context, staging)
    else:
        shutil.copytree(context.paths.trained, staging, ignore=shutil.ignore_patterns(*_ONLY_OF_TRAINING))
        (staging / manifest.MANIFEST_NAME).unlink()
    make_portable(staging)
    committed = manifest.commit(staging)
    shutil.rmtree(context.paths.export, ignore_errors=True)
    staging.replace(context.paths.export)
    return {"folder": context.paths.export.name, "digest": committed.digest, "bytes": committed.size}


def intact(context: RunContext) -> bool:
    """Whether the exported folder is still whole."""
    return not manifest.damage(context.paths.export, full=False)


def _merge(context: RunContext, destination: Path) -> None:
    from llamafactory.train.tuner import export_model

    if context.is_lora:
        # Into the base as it is stored: an adapter trained on a quantized base cannot be merged into that one.
        arguments = inference_arguments(context.config, context.base_model, context.paths.trained)
    else:
        arguments = inference_arguments(context.config, context.paths.trained)
    arguments |= {"export_dir": str(destination), "export_size": context.spec.export.max_shard_gb}
    arguments["export_device"] = "auto" if _has_accelerator() else "cpu"
    export_model(arguments)


def _has_accelerator() -> bool:
    import torch

    return bool(torch.cuda.is_available())


if __name__ == "__main__":
    main("export")
