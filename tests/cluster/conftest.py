from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

READY = "TUNERY_CLUSTER"
Kubectl = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def kubectl() -> Kubectl:
    """``kubectl("get", "nodes")`` beside the cluster of scripts/with_cluster.py; ``objects`` go to its input."""
    if os.environ.get(READY) != "1":
        pytest.skip("no cluster; run: make test-cluster")
    program = shutil.which("kubectl")
    assert program, "kubectl is not installed"

    def run(*arguments: str, objects: list[dict[str, Any]] | None = None) -> subprocess.CompletedProcess[str]:
        text = None
        if objects is not None:
            text = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
        return subprocess.run(
            [program, *arguments], input=text, capture_output=True, text=True, timeout=120, check=False
        )

    return run
