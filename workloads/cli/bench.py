"""``tunery bench``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from workloads.cli.output import console, print_json

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rich.table import Table

    from workloads.bench.figures import Figures


def bench(
    config: Annotated[Path, typer.Argument(help="A run spec or a training config.", show_default=False)],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="key=value, for this config only.", show_default=False)
    ] = None,
    against: Annotated[Path | None, typer.Option(help="A second config, measured in turn with the first.")] = None,
    steps: Annotated[int, typer.Option(min=1, help="Steps of each block that count.")] = 20,
    warmup: Annotated[int, typer.Option(min=1, help="Steps at the begin of each block that do not.")] = 4,
    blocks: Annotated[int, typer.Option(min=1, help="Trainings of each config.")] = 2,
    nproc: Annotated[int, typer.Option(min=1, help="Train with this many processes on this machine.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Measure what a training costs on this machine.

    Trains for a few steps, in processes of its own, and prints real tokens a second (padding apart), step times,
    memory, what the time went to, and MFU: tokens/s x 4 N (6 N where all weights are trained) / the peak of a matrix
    product measured on the device. N counts the matrices that a token passes, the head among them. Nothing is kept.

    Examples:

      tunery bench configs/training/tiny-sft-lora.yaml

      tunery bench configs/runs/demo.yaml --against configs/runs/other.yaml --steps 40

      tunery bench configs/runs/demo.yaml flash_attn=sdpa --nproc 2
    """
    import tempfile

    from workloads.bench.blocks import measure, subject
    from workloads.training.world import World

    files = [(config, overrides or []), *([] if against is None else [(against, [])])]
    out = console(stderr=True)
    with tempfile.TemporaryDirectory(prefix="tunery-bench-") as folder:
        subjects = [
            subject(file, own, warmup + steps, Path(folder) / str(number)) for number, (file, own) in enumerate(files)
        ]
        measure(subjects, blocks, World(nproc), lambda text: out.print(text, style="dim", markup=False))
        found = [each.figures(warmup) for each in subjects]
        losses = [each.runs[0][0].losses for each in subjects]
    if as_json:
        rows = zip(files, found, losses, strict=True)
        print_json([{"config": str(file), **each.as_dict(), "losses": seen} for (file, _), each, seen in rows])
        return
    console().print(_table([file.name for file, _ in files], found))


def _table(names: Sequence[str], found: Sequence[Figures]) -> Table:
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("")
    for name in [*names, *(["ratio"] if len(found) > 1 else [])]:
        table.add_column(name, justify="right")
    for label, shown, value in _rows(found[0]):
        numbers = [value(each) for each in found]
        ratio = [f"{numbers[0] / numbers[1]:.2f}" if numbers[1] else ""] if len(found) > 1 else []
        table.add_row(label, *(shown.format(number) for number in numbers), *ratio)
    one = found[0]
    product = f"{one.peak_flops / 1e12:.3g} TFLOP/s"
    table.caption = f"{one.steps} steps, {one.processes} x {one.device}, peak of a matrix product {product}"
    return table


def _rows(one: Figures) -> list[tuple[str, str, Callable[[Figures], float]]]:
    """Label, format and value of each row."""
    gib = 1 << 30
    rows: list[tuple[str, str, Callable[[Figures], float]]] = [
        ("real tokens/s", "{:,.0f}", lambda each: each.tokens_per_second),
        ("step p50, ms", "{:,.1f}", lambda each: each.p50 * 1e3),
        ("step p95, ms", "{:,.1f}", lambda each: each.p95 * 1e3),
        ("MFU, %", "{:.1f}", lambda each: each.mfu * 100),
        ("padding, %", "{:.1f}", lambda each: each.padding * 100),
        ("peak allocated, GiB", "{:.2f}", lambda each: each.allocated / gib),
        ("peak reserved, GiB", "{:.2f}", lambda each: each.reserved / gib),
        ("to first step, s", "{:.1f}", lambda each: each.to_first_step),
    ]
    return [*rows, *((f"  {name}, ms a step", "{:,.1f}", _part(name)) for name in one.parts)]


def _part(name: str) -> Callable[[Figures], float]:
    return lambda each: each.parts[name] * 1e3
