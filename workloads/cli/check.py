"""``tunery check``: what is wrong with configs, before anything is started."""

from __future__ import annotations

from typing import Annotated

import typer

from workloads.cli import checking


def check(
    arguments: Annotated[
        list[str],
        typer.Argument(metavar="CONFIG... [KEY=VALUE]...", help="Config files, and values that go over them."),
    ],
    json: Annotated[bool, typer.Option("--json", help="Print the problems as JSON.")] = False,
    data: Annotated[bool, typer.Option("--data/--no-data", help="Read the data sets row by row.")] = True,
) -> None:
    """Report every mistake in a training config or run spec at once.

    Each problem says what is wrong, where, and how to fix it. Warnings leave the config fit for training. The exit
    code is 0 when there is no error and 64 when there is one.

    Example: tunery check configs/training/llama3-8b-sft-lora.yaml learning_rate=5e-5
    """
    checking.run(arguments, as_json=json, data=data)
