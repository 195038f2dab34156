"""A build file as models that know all their keys; keys that no file of ours uses are left out on purpose."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

Seconds = Annotated[str, Field(pattern=r"^[1-9][0-9]*s$")]
Variable = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*=")]
Identifier = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]*$")]


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=to_camel, strict=True)


class Step(Part):
    name: str
    id: Identifier
    entrypoint: str | None = None
    args: list[str] = []
    script: str | None = None
    env: list[Variable] = []
    secret_env: list[str] = []
    dir: str = "."
    wait_for: list[str] | None = None
    timeout: Seconds | None = None
    allow_failure: bool = False

    @model_validator(mode="after")
    def _script_stands_alone(self) -> Self:
        if self.script is not None and (self.args or self.entrypoint):
            raise ValueError("script goes with neither args nor entrypoint")
        if Path(self.dir).is_absolute() or ".." in Path(self.dir).parts:
            raise ValueError("dir is below the workspace")
        return self


class Secret(Part):
    version_name: str
    env: str


class AvailableSecrets(Part):
    secret_manager: list[Secret]


class Pool(Part):
    name: Annotated[str, Field(min_length=1)]


class Options(Part):
    logging: Literal["CLOUD_LOGGING_ONLY"]
    """An account of one's own needs this or a bucket: Cloud Build refuses the default bucket of logs with it."""
    automap_substitutions: bool = False
    disk_size_gb: str | None = None
    pool: Pool | None = None


class Build(Part):
    steps: Annotated[list[Step], Field(min_length=1)]
    substitutions: dict[Annotated[str, Field(pattern=r"^_[A-Z0-9_]+$")], str] = {}
    available_secrets: AvailableSecrets | None = None
    options: Options
    timeout: Seconds

    @model_validator(mode="after")
    def _names_are_known(self) -> Self:
        known = {secret.env for secret in self.available_secrets.secret_manager} if self.available_secrets else set()
        seen: set[str] = set()
        for step in self.steps:
            if step.id in seen:
                raise ValueError(f"two steps are called {step.id}")
            if unknown := set(step.wait_for or ()) - seen - {"-"}:
                raise ValueError(f"{step.id} waits for {sorted(unknown)}, which is no step before it")
            if unknown := set(step.secret_env) - known:
                raise ValueError(f"{step.id} asks for secrets {sorted(unknown)}, which availableSecrets does not have")
            seen.add(step.id)
        if unused := known - {name for step in self.steps for name in step.secret_env}:
            raise ValueError(f"no step uses the secrets {sorted(unused)}")
        return self


def load(path: Path) -> Build:
    """Reads a build file; raises pydantic's ValidationError with everything that is wrong."""
    return Build.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))


BY_DIGEST = re.compile(r"[a-z0-9./:-]+@sha256:[0-9a-f]{64}")
"""An image that no tag can change."""
