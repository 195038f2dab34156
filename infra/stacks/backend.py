"""Where a stack's Terraform state is: always declared, since a backend left out is a file on somebody's disk."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from infra.bindings import cdktf
from infra.settings import Environment

LOCAL_STATE = "TUNERY_LOCAL_STATE"
"""A folder that takes the place of the state bucket: for tests, and for a plan without access to the bucket."""


def add(stack: Any, environment: Environment) -> None:
    """Keeps the stack's state in the environment's bucket, versioned and locked by Cloud Storage."""
    name = stack.node.id
    folder = os.environ.get(LOCAL_STATE)
    if folder:
        cdktf.LocalBackend(stack, path=str(Path(folder).absolute() / f"{name}.tfstate"))
    else:
        cdktf.GcsBackend(stack, bucket=environment.state_bucket, prefix=f"tunery/{name}")
