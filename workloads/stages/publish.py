"""publish: the exported model as a new version in the hub, with where it came from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from workloads.errors import InputError, TuneryError
from workloads.hub import open_hub
from workloads.hub.interface import ModelReference
from workloads.stages.context import RunContext
from workloads.stages.runner import main


def run(context: RunContext) -> dict[str, Any]:
    """Publishes ``export/``; the same bytes published twice give the version that exists."""
    wanted = context.spec.publish
    if wanted is None:
        raise InputError.of("The run spec has no publish part.", "add publish.name", key="publish")
    version = open_hub().publish(context.paths.export, wanted.name, lineage=lineage(context), aliases=wanted.aliases)
    context.events.append("published", reference=version.reference, digest=version.digest)
    return version.as_dict() | {"reference": version.reference}


def intact(context: RunContext) -> bool:
    """Whether the hub still has that version with that content."""
    outputs = context.outputs("publish")
    try:
        found = open_hub().resolve(ModelReference.parse(outputs["reference"]))
    except TuneryError:  # gone, or damaged: publishing again mends both
        return False
    return bool(found.revision == outputs["revision"])


def lineage(context: RunContext) -> dict[str, Any]:
    """Everything needed to say where a model came from, and to make it again."""
    record = context.record
    return {
        "run": record.id,
        "created": record.created,
        "team": context.spec.team,
        "git_commit": record.git_commit,
        "config_digest": record.config_digest,
        "training_config": context.config,
        "base": {
            "model": record.base.model,
            "revision": record.base.revision,
            "reference": record.base.reference,
            "folder": record.base.folder,
            "digest": context.outputs("fetch").get("digest"),
            "code": context.outputs("fetch").get("code") or {},
        },
        "datasets": [
            *({"name": each.name, "sha256": each.sha256} for each in record.datasets),
            *(_remote(name, each) for name, each in context.outputs("fetch").get("datasets", {}).items()),
        ],
        "prepared_data_digest": context.outputs("prepare")["digest"],
        "trained_digest": context.outputs("train")["digest"],
        "steps": context.outputs("train")["steps"],
        "sweep": _sweep(context),
        "seed": record.seed,
        "versions": record.versions,
        "metrics": {
            "before": context.outputs("evaluate")["before"],
            "after": context.outputs("evaluate")["after"],
        },
    }


def _remote(name: str, brought: Mapping[str, Any]) -> dict[str, Any]:
    """A data set that was not in files here; ``sha256`` is of the list of its files."""
    return {
        "name": name,
        "source": brought["source"],
        "revision": brought["revision"],
        "sha256": brought["digest"],
    }


def _sweep(context: RunContext) -> dict[str, Any] | None:
    """Which of a sweep's trials it was."""
    if context.spec.sweep is None:
        return None
    chosen = context.outputs("train")
    return {
        "trial": chosen["trial"],
        "of": len(context.record.trials),
        "parameters": chosen["parameters"],
        "metric": chosen["metric"],
    }


if __name__ == "__main__":
    main("publish")
