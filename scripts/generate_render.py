"""The rendered manifests that are kept as goldens: a few runs that differ in what Kubernetes makes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from scripts import mpi_example
from workloads import platform
from workloads.platform import Platform
from workloads.render.pipeline import objects
from workloads.render.run import ClusterRun
from workloads.render.text import to_documents
from workloads.run_spec import RunSpec

ROOT = Path(__file__).parents[1]
GOLDENS = ROOT / "tests" / "goldens" / "render"
_PUBLISHED: dict[str, Any] = {"publish": {"name": "tunery/demo-assistant"}}
CASES: dict[str, dict[str, Any]] = {
    "one-gpu": {"resources": {"accelerator": "l4"}},
    "two-nodes-of-two-gpus": {"resources": {"count": 2, "nodes": 2, "capacity": "on-demand", "priority": "high"}},
    "scheduled": {"schedule": "0 3 * * 1", "resources": {"nodes": 2}, **_PUBLISHED},
    "with-approval": {**_PUBLISHED, "serve": {"approval": True}},
}
"""File name -> what its run spec says beside the training."""


def case(name: str, at: Platform | None = None) -> ClusterRun:
    """The run of a golden, on the committed contract of dev or the given one."""
    found = at or platform.load("dev", ROOT / "configs" / "platform")
    spec = RunSpec.model_validate({"name": "demo", "training": {"stage": "sft"}, **CASES[name]})
    images = {
        image: f"{found.registry}/{repository}@sha256:{digit * 64}"
        for image, repository, digit in (
            ("stager", "stager", "1"),
            ("trainer", "llama-factory", "2"),
            ("server", "server", "3"),
        )
    }
    return ClusterRun("demo-0123456789", spec, "research", found, images, base_gb=16.1)


def render(contract: str) -> dict[Path, str]:
    """Path -> text of every golden, on the contract that is generated with them."""
    at = Platform.model_validate_json(contract)
    goldens = {GOLDENS / f"{name}.yaml": to_documents(objects(case(name, at))) for name in CASES}
    return goldens | mpi_example.render(case("two-nodes-of-two-gpus", at))
