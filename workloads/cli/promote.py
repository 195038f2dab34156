"""``tunery promote``."""

from __future__ import annotations

from typing import Annotated

import typer

from workloads.cli.output import console, print_json


def promote(
    model: Annotated[str, typer.Argument(help="NAME@VERSION; an alias or a revision will do.", show_default=False)],
    alias: Annotated[str, typer.Argument(help="What to call it, such as production.", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Point an alias such as production at a model version.

    The hub's log keeps who did it and when.

    Example: tunery promote support-bot@v3 production
    """
    from workloads.errors import InputError
    from workloads.hub import open_hub
    from workloads.hub.interface import ModelReference

    reference = ModelReference.parse(model)
    if reference.selector is None:
        raise InputError.of(
            f"{model!r} does not say which version to promote.", f"write {model}@VERSION (see `tunery models`)"
        )
    hub = open_hub()
    version = hub.promote(hub.resolve(reference), alias)
    if as_json:
        print_json(version.as_dict())
        return
    console().print(f"{alias} of {version.name} is {version.version} now.", markup=False)
