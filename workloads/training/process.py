"""Several trainings in one process, one after another."""

from __future__ import annotations

import gc


def forget_training() -> None:
    """Leaves nothing of one training to the next: accelerate keeps state in its classes, and models stay in cycles."""
    import torch
    from accelerate.state import AcceleratorState, GradientState  # type: ignore[import-untyped]

    GradientState._reset_state()
    AcceleratorState._reset_state()
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
