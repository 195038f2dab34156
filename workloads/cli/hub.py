"""``tunery hub``: whether models can be had from Artifactory, and how other programs get them there."""

from __future__ import annotations

from typing import Annotated

import typer

from workloads.cli.output import console, print_json


def hub() -> None:
    """Check the way to Artifactory, or print it for other programs.

    Example: tunery hub check Qwen/Qwen3-0.6B --env dev
    """


def check(
    model: Annotated[str, typer.Argument(help="A base model that the repository offers.", show_default=False)],
    environment: Annotated[
        str | None, typer.Option("--env", help="Take the address from this environment's contract.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Download one small file through HF_ENDPOINT, and explain what does not work.

    The address is that of --env, else HF_ENDPOINT, else TUNERY_ARTIFACTORY_URL. The token is TUNERY_ARTIFACTORY_TOKEN
    or in the file TUNERY_ARTIFACTORY_TOKEN_FILE.

    Example: tunery hub check Qwen/Qwen3-0.6B --env dev
    """
    from workloads.errors import UnavailableError
    from workloads.hub.interface import ModelReference
    from workloads.hub.preflight import preflight
    from workloads.hub.transport import Transport

    endpoint = _endpoint(environment)
    name = ModelReference.parse(model).name
    steps = []
    for step in preflight(Transport(endpoint), endpoint, name):
        steps.append(step)
        if not as_json:
            mark = "[green]ok[/green]   " if step.problem is None else "[red]fails[/red]"
            console().print(f"{mark} {step.what}")
    problems = [step.problem for step in steps if step.problem is not None]
    if problems:
        raise UnavailableError(problems)
    if as_json:
        print_json({"ok": True, "endpoint": endpoint, "model": name, "steps": [step.what for step in steps]})
        return
    console().print(f"{endpoint} works as a Hugging Face Hub.", markup=False)


def env(environment: Annotated[str, typer.Argument(help="The environment.", show_default=False)]) -> None:
    """Print the variables that make huggingface_hub ask an environment's Artifactory, for a shell's eval.

    The token is not printed: set HF_TOKEN to it yourself.

    Example: eval "$(tunery hub env dev)"
    """
    import shlex

    from workloads.platform import load
    from workloads.render.huggingface import huggingface_environment

    for key, value in huggingface_environment(load(environment)).items():
        console().print(f"export {key}={shlex.quote(value)}", markup=False, soft_wrap=True)


def _endpoint(environment: str | None) -> str:
    import os

    from workloads.errors import InputError
    from workloads.runtime import ENV_ARTIFACTORY, ENV_ARTIFACTORY_MODELS, ENV_HF_ENDPOINT

    if environment is not None:
        from workloads.platform import load
        from workloads.render.huggingface import huggingface_environment

        return huggingface_environment(load(environment))[ENV_HF_ENDPOINT]
    if endpoint := os.environ.get(ENV_HF_ENDPOINT):
        return endpoint.rstrip("/")
    url, models = os.environ.get(ENV_ARTIFACTORY), os.environ.get(ENV_ARTIFACTORY_MODELS)
    if url and models:
        return f"{url.rstrip('/')}/api/huggingfaceml/{models}"
    raise InputError.of(
        "No Artifactory is named.",
        f"give --env, or set {ENV_HF_ENDPOINT}, or {ENV_ARTIFACTORY} and {ENV_ARTIFACTORY_MODELS}",
    )


COMMANDS = {"check": check, "env": env}
