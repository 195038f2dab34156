"""``tunery verify``."""

from __future__ import annotations

from typing import Annotated

import typer

from workloads.cli.output import console, print_json, show_warnings


def verify(
    model: Annotated[str, typer.Argument(help="NAME@VERSION; the newest version when only NAME.", show_default=False)],
    environment: Annotated[
        str | None, typer.Option("--env", help="Look in this environment's hub, and trust who signs there.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Recompute every digest of a model version.

    Reads every byte of the model, its lineage, and in Artifactory who signed where it came from: the public keys are
    those of --env, or in the file TUNERY_SIGNING_PUBLIC_KEY. Ends with 70 when something is wrong, and lists all of it.

    Example: tunery verify support-bot@production
    """
    from workloads.cli.transfer import byte_bar
    from workloads.errors import TuneryError
    from workloads.hub import open_hub, use_hub_of
    from workloads.hub.interface import ModelReference

    if environment is not None:
        from workloads.platform import load

        use_hub_of(load(environment))
    hub = open_hub()
    version = hub.resolve(ModelReference.parse(model))
    with byte_bar("verifying", version.size) as advance:
        problems = hub.verify(version, advance)
    if damaged := [problem for problem in problems if not problem.is_warning]:
        raise TuneryError(damaged)
    show_warnings(problems)
    files = len(hub.manifest(version).files)
    if as_json:
        print_json({"ok": True, "files": files, **version.as_dict()})
        return
    console().print(
        f"{version.reference} is whole: {files} files, {version.size:,} bytes, sha256:{version.digest}", markup=False
    )
