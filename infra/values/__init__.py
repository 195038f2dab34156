"""Values of the controllers' charts, one function each: an environment in, the chart's values out. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from infra.settings import Environment
from infra.values import argo_cd, argo_workflows, jobset, keda, kueue

VALUES: dict[str, Callable[[Environment], dict[str, Any]]] = {
    "argo-workflows": argo_workflows.values,
    "jobset": jobset.values,
    "kueue": kueue.values,
    "keda": keda.values,
    "argo-cd": argo_cd.values,
}
"""By the controller's name in ``charts.CHARTS``."""
