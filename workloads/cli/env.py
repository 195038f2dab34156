"""``tunery env``: what stands in an environment, what it costs, and what a destroy would lose."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from workloads.cli.output import console, print_json

_Environment = Annotated[str, typer.Argument(metavar="ENV", help="The name of its file in configs/environments.")]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]

STACKS = Path("cdktf.out/stacks")
"""Where ``cdktf synth`` puts the stacks."""


def env() -> None:
    """Show, compare and check environments.

    Example: tunery env show dev
    """


def list_environments(as_json: _Json = False) -> None:
    """List the environments.

    Example: tunery env list --json
    """
    from workloads import platform
    from workloads.cli import env_screens

    found = [platform.load(name) for name in platform.environments()]
    if as_json:
        print_json([each.model_dump(mode="json", include={"environment", "project", "region"}) for each in found])
    else:
        env_screens.listing(console(), found)


def show(environment: _Environment, as_json: _Json = False) -> None:
    """Show an environment on one screen.

    Pools, teams, identities, places, and what it costs when nothing runs and at its limits. Prices are list prices;
    --json has their sources and dates.

    Example: tunery env show prod
    """
    from workloads import platform, prices
    from workloads.cli import env_screens
    from workloads.environments.overview import as_dict

    found, price_list = platform.load(environment), prices.load()
    if as_json:
        print_json(as_dict(found, price_list))
    else:
        env_screens.overview(console(), found, price_list)


def diff(first: _Environment, second: _Environment, as_json: _Json = False) -> None:
    """Show how two environments differ.

    Names that only follow from the environment's own name, project or region are no difference.

    Example: tunery env diff dev prod
    """
    from workloads import platform
    from workloads.cli import env_screens
    from workloads.environments.diff import diff as differences

    found = differences(platform.load(first), platform.load(second))
    if as_json:
        print_json([each.as_dict() for each in found])
    else:
        env_screens.differences(console(), first, second, found)


def destroy_check(
    environment: _Environment,
    state: Annotated[
        Path | None, typer.Option(help="What `terraform show -json` printed, in place of asking it.")
    ] = None,
    plan: Annotated[Path | None, typer.Option(help="What `terraform show -json PLANFILE` printed.")] = None,
    as_json: _Json = False,
) -> None:
    """List what a destroy would lose.

    Also lists what would still cost money after it. Without --state, terraform is asked for the state of the
    synthesized stack cluster-ENV. With --plan, a plan that would destroy or replace a resource with data is refused
    (exit code 64), and the reason is told.

    Example: tunery env destroy-check prod --plan plan.json
    """
    from workloads import platform, prices
    from workloads.cli import env_screens
    from workloads.environments import destroy_check as checks
    from workloads.environments import terraform
    from workloads.errors import InputError

    found = platform.load(environment)
    if state is not None and plan is not None:
        raise InputError.of("A state and a plan are two questions.", "give --state or --plan, not both")
    if plan is not None:
        read = terraform.read_plan(plan)
        checks.refuse(read, str(plan))
        interrupted = checks.interruptions(read)
        if as_json:
            print_json({"ok": True, "changes": read.changes, "interrupts": [loss.as_dict() for loss in interrupted]})
        else:
            env_screens.passed(console(), read.changes, interrupted)
        return
    stack = STACKS / f"cluster-{found.environment}"
    resources = terraform.show_state(stack) if state is None else terraform.read_state(state)
    price_list = prices.load()
    report = checks.check(resources, found, price_list)
    if as_json:
        print_json(report.as_dict())
    else:
        env_screens.losses(console(), environment, report, price_list.currency)


COMMANDS = {"list": list_environments, "show": show, "diff": diff, "destroy-check": destroy_check}
"""The verbs after ``tunery env``."""
