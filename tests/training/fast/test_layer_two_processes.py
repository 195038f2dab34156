"""Under torch's DistributedDataParallel the gradients of the hand-written layers are averaged over the processes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import multiprocessing

from tests.training.fast.layers import average_gradients, flat_row, step, tiny_model
from workloads.training.fast import layer


@pytest.mark.slow
def test_two_processes_average_their_gradients(tmp_path: Path) -> None:
    multiprocessing.spawn(average_gradients, args=(str(tmp_path),), nprocs=2)
    model = tiny_model("Qwen3")
    layer.replace_layers(model)
    expected: dict[str, torch.Tensor] = {}
    for rank in range(2):
        for part in range(2):
            inputs, documents = flat_row([4, 6], seed=10 * rank + part)
            _, grads = step(model, {**inputs, "documents": documents}, torch.ones(1, 10, 97))
            expected = {name: expected.get(name, 0) + grad / 2 for name, grad in grads.items()}
    for rank in range(2):
        found = torch.load(tmp_path / f"{rank}.pt")
        assert found.keys() == expected.keys()
        for name, grad in expected.items():
            torch.testing.assert_close(found[name], grad)
