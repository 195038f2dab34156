"""LLaMA-Factory's trainer for supervised fine-tuning, on flat batches and a model with a level installed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from llamafactory.train.sft import workflow
from llamafactory.train.sft.trainer import CustomSeq2SeqTrainer

from workloads.training.fast.batches import FlatBatches
from workloads.training.fast.install import Installed, install
from workloads.training_config.levels import Level, Refusal

Told = Callable[[Installed], None]


@contextmanager
def fast_trainer(level: Level, *, lean: bool = True, told: Told = lambda _: None) -> Iterator[None]:
    """Inside it LLaMA-Factory's supervised fine-tuning trains at a level, or the next lower one that goes.

    Args:
        level: the highest one to install.
        lean: of the level ``layer``, see :func:`install.install`.
        told: called with what was installed, before the first step.
    """

    class Trainer(FastTrainer):
        def __init__(self, **named: Any) -> None:
            reason = why_not(named["args"], named["finetuning_args"], named.get("processor"))
            if reason is None:
                installed = install(named["model"], level, lean=lean)
            else:
                installed = Installed(Level.PLAIN, (Refusal(Level.FLAT, reason),))
            told(installed)
            super().__init__(installed=installed, **named)

    workflow.CustomSeq2SeqTrainer = Trainer
    try:
        yield
    finally:
        workflow.CustomSeq2SeqTrainer = CustomSeq2SeqTrainer


def why_not(args: Any, finetuning: Any, processor: Any = None) -> str | None:
    """Why a training cannot have flat batches, whatever its model; None when it can.

    Args:
        args: the trainer's arguments.
        finetuning: LLaMA-Factory's.
        processor: of a model that reads more than text.
    """
    reasons = (
        (processor is not None, "the model reads more than text"),
        (args.label_smoothing_factor, "label_smoothing_factor: the loss looks at every token's logits"),
        (
            finetuning.use_dft_loss or finetuning.use_eaft_loss or finetuning.use_asft_loss,
            "another loss than cross entropy looks at every token's logits",
        ),
        (args.neftune_noise_alpha, "neftune_noise_alpha: the noise depends on the length of a row"),
        (args.deepspeed, "deepspeed: it is not shown that its engines learn the same on flat rows"),
        (args.fsdp, "fsdp: a part of each weight lies in every process"),
        (args.torch_compile, "torch_compile: the model is compiled for rows of one length"),
        (args.fp8, "fp8: its linear layers are of another kind"),
        (args.n_gpu > 1, "one process drives several GPUs, and would cut the row apart: start one for each"),
    )
    return next((reason for applies, reason in reasons if applies), None)


class FastTrainer(CustomSeq2SeqTrainer):  # type: ignore[misc]  # llamafactory is not followed by mypy
    """Makes flat batches for training; for evaluation too, unless that looks at logits."""

    data_collator: Any

    def __init__(self, installed: Installed, **named: Any) -> None:
        collator = named["data_collator"]
        super().__init__(**named)
        self._flat = None
        if installed.level >= Level.FLAT:
            self._flat = FlatBatches(collator.tokenizer.pad_token_id, collator.neat_packing)

    def get_train_dataloader(self) -> Any:
        """The loader of flat batches."""
        with self._flat_batches():
            return super().get_train_dataloader()

    def get_eval_dataloader(self, eval_dataset: Any = None) -> Any:
        """The same for held-out rows. The trainer weighs a batch by its size in rows, which stays."""
        if self.compute_metrics is not None or self.args.predict_with_generate:
            return super().get_eval_dataloader(eval_dataset)
        with self._flat_batches():
            return super().get_eval_dataloader(eval_dataset)

    @contextmanager
    def _flat_batches(self) -> Iterator[None]:
        plain = self.data_collator
        self.data_collator = self._flat or plain
        try:
            yield
        finally:
            self.data_collator = plain

    def _track_num_input_tokens(self, inputs: dict[str, Any]) -> None:
        """Counts without waiting for the device, where transformers does: in a flat row all tokens are text."""
        if self._flat is None or self.args.include_num_input_tokens_seen == "no":
            super()._track_num_input_tokens(inputs)
            return
        tokens = inputs["input_ids"].numel()
        if self.args.world_size > 1:
            counted = torch.tensor(tokens, device=self.args.device)
            tokens = int(self.accelerator.gather(counted).sum())
        self.state.num_input_tokens_seen += tokens
