"""``tunery render``."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from workloads.cli.output import console, print_json

if TYPE_CHECKING:
    from workloads.render.argo_cd import GitSource

_CREDENTIALS = re.compile(r"^(https?://)[^/@]*@")


def render(
    spec: Annotated[Path, typer.Argument(help="A run spec or a training config.", show_default=False)],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="key=value for the training config.", show_default=False)
    ] = None,
    on: Annotated[str, typer.Option("--on", metavar="ENV", help="The environment.", show_default=False)] = "",
    to: Annotated[Path | None, typer.Option("--to", metavar="DIR", help="Where to write.", show_default=False)] = None,
    repository: Annotated[
        str | None, typer.Option(help="The git repository that Argo CD reads; DIR's own remote otherwise.")
    ] = None,
    revision: Annotated[str, typer.Option(help="The branch, tag or commit that Argo CD follows.")] = "HEAD",
    upload: Annotated[bool, typer.Option("--upload", help="Also put the run's inputs into its store.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the files as JSON.")] = False,
) -> None:
    """Write a run's Kubernetes objects to a folder, for GitOps.

    One file an object, a kustomization, and in application.yaml the Argo CD Application that delivers the folder
    (where the environment has Argo CD). The pods look for the run's inputs in its store: --upload puts them there.

    Example: tunery render configs/runs/demo.yaml --on prod --to deliver/demo --upload
    """
    from workloads.cli.environment_run import planned
    from workloads.cli.environment_run import upload as send_inputs
    from workloads.errors import InputError, UnavailableError
    from workloads.render.argo_cd import CONTROLLER, application, kustomization
    from workloads.render.pipeline import file_name, objects
    from workloads.render.text import to_yaml
    from workloads.storage.atomic import write_text

    if not on or to is None:
        raise InputError.of("It must be said for which environment, and where to.", "give --on ENV and --to DIR")
    record, run = planned(spec, overrides or [], on)
    files = {file_name(each): each for each in objects(run)}
    files["kustomization.yaml"] = kustomization(list(files))
    if repository is not None or CONTROLLER in run.platform.controllers:
        files["application.yaml"] = application(run, _source(to, repository, revision))
    try:
        for name, manifest in files.items():
            write_text(to / name, to_yaml(manifest))
    except OSError as error:
        raise UnavailableError.of(
            f"The folder cannot be written: {error.strerror}.", "name another with --to", file=to
        ) from error
    if upload:
        send_inputs(record, run.platform.store(run.team_name))
    if as_json:
        print_json({"ok": True, "id": run.id, "files": [str(to / name) for name in files], "uploaded": upload})
        return
    out = console()
    for name in files:
        out.print(str(to / name), markup=False)
    if not upload:
        out.print("The run's inputs are not in its store yet: add --upload before the folder is applied.", style="dim")


def _source(to: Path, repository: str | None, revision: str) -> GitSource:
    """Where Argo CD finds the folder; a URL's credentials are left out."""
    from workloads.errors import InputError
    from workloads.render.argo_cd import GitSource

    folder = next((each for each in (to.resolve(), *to.resolve().parents) if each.is_dir()), Path.cwd())
    top = _git(folder, "rev-parse", "--show-toplevel")
    remote = repository or _git(folder, "remote", "get-url", "origin")
    if remote is None:
        raise InputError.of(
            "It is not known from which git repository Argo CD takes the folder.",
            "give --repository URL, or write into a clone that has a remote",
            file=to,
        )
    path = to.resolve().relative_to(top) if top and to.resolve().is_relative_to(top) else Path(to.name)
    return GitSource(_CREDENTIALS.sub(r"\1", remote), path.as_posix(), revision)


def _git(folder: Path, *arguments: str) -> str | None:
    command: list[str] = ["git", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None
