"""``tunery estimate``: the accelerator memory of a training, before anything is downloaded or started."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workloads.cli.output import console, plain_table, print_json
from workloads.errors import InputError

if TYPE_CHECKING:
    from rich.table import Table

    from workloads.run_spec_loader import ResolvedSpec
    from workloads.training_config.accelerators import Accelerator
    from workloads.training_config.memory_estimate import Estimate
    from workloads.training_config.memory_options import Change, Fit

_MODEL_CONFIG = "config.json"
ConfigFile = Annotated[Path, typer.Argument(help="A training config or run spec.")]
Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Values that go over the config's.")
]
Model = Annotated[str | None, typer.Option(help="The base model: its folder, its config.json, or its name in the hub.")]


def estimate(
    config: ConfigFile,
    overrides: Overrides = None,
    model: Model = None,
    accelerator: Annotated[
        str | None, typer.Option(help="Show only this one, such as l4, and how to fit on it.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the estimate as JSON, in bytes.")] = False,
) -> None:
    """Estimate the accelerator memory that a training needs.

    Shows the memory by part, which accelerators hold it and how many, and what to change for less. Only the base
    model's config.json is read. Rows are taken to be as long as cutoff_len allows.

    Example: tunery estimate configs/training/llama3-8b-sft-lora.yaml --model llama3/config.json --accelerator l4
    """
    from workloads.run_spec_loader import load_run_spec
    from workloads.training_config.accelerators import ACCELERATORS, find_accelerator
    from workloads.training_config.memory_estimate import estimate as estimated
    from workloads.training_config.memory_options import changes, fits, way_to_fit

    only = find_accelerator(accelerator) if accelerator else None
    resolved = load_run_spec(config, overrides or [])
    training = with_deepspeed_path(resolved)
    shape = model_config(resolved, model)
    result = estimated(training, shape)
    standing = fits(training, shape, accelerators=(only,) if only else ACCELERATORS)
    possible = changes(training, shape)
    way = way_to_fit(training, shape, only) if only and standing[0].obstacle is None else None
    if as_json:
        answer = result.as_dict() | {
            "accelerators": [fit.as_dict() for fit in standing],
            "changes": [change.as_dict() for change in possible],
        }
        if only:
            answer["way_to_fit"] = [change.as_dict() for change in way[0]] if way else None
        print_json(answer)
        return
    _show(result, standing, possible)
    if only and standing[0].count != 1 and standing[0].obstacle is None:
        _show_way(only, way)


def with_deepspeed_path(resolved: ResolvedSpec) -> dict[str, Any]:
    """The training config with DeepSpeed's file looked for where ``tunery check`` does."""
    values = dict(resolved.training.values)
    named = values.get("deepspeed")
    if isinstance(named, str) and not named.startswith("{") and not Path(named).is_file():
        values["deepspeed"] = str(resolved.training.path.parent / named)
    return values


def model_config(resolved: ResolvedSpec, model: str | None) -> dict[str, Any]:
    """The config.json of the base model: of ``model``, a folder, file or name in the hub, or of the one in the spec.

    Raises:
        InputError: it is neither here nor in the hub, or is no JSON object.
    """
    base = resolved.spec.base
    wanted = model or (base.model if base else resolved.training.values.get("model_name_or_path"))
    if not isinstance(wanted, str) or not wanted:
        raise InputError.of("No base model is named.", "set model_name_or_path, or give --model", file=resolved.file)
    start = resolved.file if base else resolved.training.path
    path = _in_folders([Path(wanted), start.parent / wanted])
    content = path.read_bytes() if path else _in_hub(wanted, base.revision if base else None)
    if content is None:
        raise InputError.of(
            f"The config.json of the base model {wanted!r} is neither in a folder here nor in the hub.",
            "give it with --model FOLDER or --model config.json (it is a small file beside the weights)",
            file=resolved.file,
            key="model_name_or_path",
        )
    try:
        value = json.loads(content)
    except ValueError as error:
        fix = "name the model's config.json"
        raise InputError.of(f"It is no readable JSON: {error}.", fix, file=path or wanted) from error
    if not isinstance(value, dict):
        raise InputError.of("It holds no JSON object.", "name the model's config.json", file=path or wanted)
    return value


def _in_folders(places: Sequence[Path]) -> Path | None:
    files = [place / _MODEL_CONFIG if place.is_dir() else place for place in places]
    return next((file for file in files if file.is_file()), None)


def _in_hub(name: str, revision: str | None) -> bytes | None:
    """The config.json of a model in the hub: no weights are brought for it."""
    from workloads.hub import open_hub
    from workloads.hub.interface import ModelReference

    hub = open_hub()
    try:
        reference = ModelReference.parse(name)
        version = hub.resolve(ModelReference(reference.name, reference.selector or revision))
    except InputError:
        return None
    return hub.read(version, _MODEL_CONFIG)


def _show(result: Estimate, standing: Sequence[Fit], possible: Sequence[Change]) -> None:
    out = console()
    counted = "" if result.exact else " (an unknown family, counted as a Llama of these sizes)"
    out.print(f"{result.parameters / 1e9:.2f} billion parameters{counted}, {_trained(result)} trained", markup=False)
    table = plain_table("part", ">GB")
    for name, size in result.parts.items():
        table.add_row(name, _gb(size))
    table.add_row("total", _gb(result.total), style="bold", end_section=True)
    out.print(table)
    table = plain_table("accelerator", ">has GB", ">each needs GB", "how many")
    for fit in standing:
        count = fit.obstacle or ("does not fit" if fit.count is None else str(fit.count))
        style = "green" if fit.count else "dim"
        table.add_row(fit.accelerator.title, _gb(fit.accelerator.bytes), _gb(fit.needs), count, style=style)
    out.print(table)
    if possible:
        out.print("What would need less (each by itself):", style="bold")
        out.print(_change_table(possible))


def _show_way(accelerator: Accelerator, way: tuple[list[Change], Estimate] | None) -> None:
    out = console()
    if way is None:
        out.print(f"No set of these changes makes it fit on one {accelerator.title}.", style="yellow", markup=False)
        return
    together, after = way
    out.print(f"Together these make it {_gb(after.total)} GB, which fits on one {accelerator.title}:", style="green")
    out.print(_change_table(together))


def _change_table(possible: Sequence[Change]) -> Table:
    table = plain_table(">saves GB", "set", "what it costs")
    for change in possible:
        table.add_row(_gb(change.saves), change.overrides, change.note)
    return table


def _gb(size: int) -> str:
    return f"{size / 1e9:.1f}"


def _trained(result: Estimate) -> str:
    return f"{result.trained / 1e6:,.1f} million ({result.trained / result.parameters:.1%})"
