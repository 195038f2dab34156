from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.place import TWO_PODS, Kubectl, Place, demo_spec, opened, real_stages, run_kubectl

READY = "TUNERY_CLUSTER"


@pytest.fixture(scope="session")
def kubectl() -> Kubectl:
    """``kubectl("get", "nodes")`` beside the cluster of scripts/with_cluster.py."""
    if os.environ.get(READY) != "1":
        pytest.skip("no cluster; run: make test-cluster")
    assert shutil.which("kubectl"), "kubectl is not installed"
    return run_kubectl


@pytest.fixture(scope="session")
def real_place(kubectl: Kubectl, built_tiny_model: Path) -> Iterator[Place]:
    """A team whose pods run the real stages, with the demo's base model in its hub."""
    with opened(kubectl, "tuned", real_stages) as place:
        place.tunery("import", str(built_tiny_model), "tunery/tiny")
        yield place


@pytest.fixture(scope="session")
def reference(real_place: Place, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the demo comes to on this machine, with as many processes as its pods are."""
    folder = tmp_path_factory.mktemp("reference")
    places = {"TUNERY_RUNS": folder / "runs", "TUNERY_HUB": folder / "hub"}
    environ = {**real_place.environ, **{name: str(path) for name, path in places.items()}}
    here = Place(real_place.root, real_place.team, real_place.environment, real_place.kubectl, environ)
    shutil.copytree(real_place.root / "hub", folder / "hub")
    found: dict[str, Any] = here.json("run", str(demo_spec(real_place)), *TWO_PODS, "--nproc", "2", seconds=300)
    return found
