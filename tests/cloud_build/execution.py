"""Executes a build: each step a process of this machine, with the builder image's commands as ``builders`` has them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cloud_build.builders import builder
from cloud_build.schema import BY_DIGEST, Build
from cloud_build.substitution import SubstitutionError, apply, required

_SECONDS = 300


@dataclass(frozen=True)
class Result:
    """What came of a build: the steps that ran, the exit code of the last, and all that they printed."""

    ran: list[str]
    code: int
    output: str


@dataclass(frozen=True)
class Trigger:
    """What starts a build.

    Attributes:
        own: the substitutions that Cloud Build sets itself.
        given: those that the trigger passes.
        secrets: a secret version's name -> its value.
        environment: for the local commands alone, such as where they keep what they push.
    """

    own: Mapping[str, str]
    given: Mapping[str, str]
    secrets: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)


def substitutions(build: Build, workspace: Path, trigger: Trigger) -> dict[str, str]:
    """All values, once it is seen that none is missing, unknown or unused.

    Raises:
        SubstitutionError: with all names that are wrong.
    """
    wanted = required(build, workspace)
    values = {**trigger.own, **build.substitutions, **trigger.given}
    if unused := {*trigger.given, *build.substitutions} - wanted:
        raise SubstitutionError(f"the build uses none of {sorted(unused)}")
    if missing := wanted - set(values):
        raise SubstitutionError(f"nobody gives {sorted(missing)}")
    return values


def execute(build: Build, workspace: Path, trigger: Trigger) -> Result:
    """Runs the steps in their order, which is one that ``waitFor`` allows, until one fails."""
    values = substitutions(build, workspace, trigger)
    ran: list[str] = []
    output: list[str] = []
    for step in build.steps:
        image = apply(step.name, values)
        if not BY_DIGEST.fullmatch(image):
            raise SubstitutionError(f"{step.id}: the image {image} is not named by its digest")
        environment = _environment(build, step.env, step.secret_env, values, trigger)
        arguments = [apply(each, values) for each in step.args]
        local = builder(image)
        environment["PATH"] = f"{local.commands}{os.pathsep}{os.environ['PATH']}"
        if step.script is not None:
            command: Sequence[str] = ["sh", "-c", step.script]
        else:
            entrypoint = apply(step.entrypoint, values) if step.entrypoint is not None else local.entrypoint
            command = [entrypoint, *arguments]
        done = subprocess.run(
            local.command(command),
            cwd=workspace / apply(step.dir, values),
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
        ran.append(step.id)
        output.append(done.stdout)
        if done.returncode and not step.allow_failure:
            return Result(ran, done.returncode, "".join(output))
    return Result(ran, 0, "".join(output))


def _environment(
    build: Build, own: Sequence[str], secret: Sequence[str], values: Mapping[str, str], trigger: Trigger
) -> dict[str, str]:
    """What a step sees: nothing of this machine's environment but what its commands cannot do without."""
    found = {"HOME": trigger.environment["HOME"], "LANG": "C.UTF-8", **trigger.environment}
    if build.options.automap_substitutions:
        found |= values
    found |= dict(apply(each, values).split("=", 1) for each in own)
    versions = build.available_secrets.secret_manager if build.available_secrets else []
    for version in versions:
        if version.env in secret:
            name = apply(version.version_name, values)
            if name not in trigger.secrets:
                raise SubstitutionError(f"there is no secret {name}")
            found[version.env] = trigger.secrets[name]
    return found
