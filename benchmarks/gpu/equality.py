"""How far the gradients of one run are from those of another."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any


def apart(file: Path, reference: Path) -> dict[str, Any]:
    """The distance of each parameter's gradient, as a share of the reference's norm, and how many signs agree.

    Both files hold a mapping of names to fp32 tensors.
    """
    import torch

    mine, theirs = torch.load(file), torch.load(reference)
    if mine.keys() != theirs.keys():
        raise ValueError("the runs do not train the same parameters")
    shares = {name: float((mine[name] - true).norm() / true.norm()) for name, true in theirs.items()}
    same = sum(float((mine[name].sign() == true.sign()).sum()) for name, true in theirs.items())
    worst = max(shares, key=lambda name: shares[name])
    return {
        "parameters": len(shares),
        "median": statistics.median(shares.values()),
        "worst": shares[worst],
        "where": worst,
        "signs": same / sum(true.numel() for true in theirs.values()),
    }
