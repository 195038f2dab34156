"""What an exception of the training stack means for the person who started the run."""

from __future__ import annotations

import errno

from workloads.errors import InputError, Problem, TuneryError, UnavailableError
from workloads.training.memory import is_out_of_memory

_LOG = "the details are in logs/worker.log in the run directory, or on an environment in `tunery logs`"


def explain(error: Exception, stage: str) -> TuneryError:
    """Turns an exception that no stage expected into one with an exit code and a way out."""
    text = f"{error}".strip() or type(error).__name__
    first_line = text.splitlines()[0][:500]
    if _is_disk_full(error, text):
        return UnavailableError.of(
            f"The disk became full during {stage}.",
            "free some space and run again with --resume: finished stages and committed checkpoints are kept",
        )
    if isinstance(error, PermissionError) or getattr(error, "errno", None) == errno.EROFS:
        return UnavailableError.of(
            f"{stage} may not write: {first_line}", "make the folder writable for you, then run again with --resume"
        )
    if is_out_of_memory(error):
        return InputError.of(
            f"Memory was too small in {stage}: {first_line}",
            "see `tunery estimate` for what each part needs; lower per_device_train_batch_size (and raise "
            "gradient_accumulation_steps), lower cutoff_len, or set quantization_bit: 4",
        )
    if "tensors share memory" in text:
        return InputError.of(
            "LLaMA-Factory 0.9.5 cannot save a reward model whose embeddings are tied, trained in full or by freezing.",
            "set finetuning_type: lora, or use a base model with tie_word_embeddings: false",
        )
    if _passed_through(error, "llamafactory.hparams", "transformers.hf_argparser"):
        return InputError.of(
            f"LLaMA-Factory refuses this training config: {first_line}", f"change it as the message says; {_LOG}"
        )
    if _passed_through(error, "llamafactory.data"):
        return InputError.of(f"LLaMA-Factory cannot use this data: {first_line}", f"see `tunery check`; {_LOG}")
    if _passed_through(error, "llamafactory.model.loader"):
        return InputError.of(
            f"The base model cannot be loaded: {first_line}",
            f"see whether transformers loads it, and `tunery verify` whether it is whole; {_LOG}",
        )
    return TuneryError(Problem(f"{stage} failed: {type(error).__name__}: {first_line}", _LOG, code="unexpected"))


def _is_disk_full(error: Exception, text: str) -> bool:
    # safetensors and torch wrap the operating system's error in their own types and keep only its text
    return getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "No space left on device" in text


def _passed_through(error: Exception, *packages: str) -> bool:
    """Whether the exception came out of one of these packages."""
    trace = error.__traceback__
    while trace is not None:
        if str(trace.tb_frame.f_globals.get("__name__", "")).startswith(packages):
            return True
        trace = trace.tb_next
    return False
