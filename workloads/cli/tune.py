"""``tunery tune``: what the preset chooses for a training, and why, before it is started."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workloads.cli.estimate import ConfigFile, Model, Overrides, model_config, with_deepspeed_path
from workloads.cli.output import console, plain_table, print_json

if TYPE_CHECKING:
    from workloads.training_config.preset import Choice, Device

_MEASURED_ON = "h100"


def tune(
    config: ConfigFile,
    overrides: Overrides = None,
    model: Model = None,
    accelerator: Annotated[
        str | None, typer.Option(help="Such as h100; that of the run spec, or of this machine, when absent.")
    ] = None,
    run: Annotated[
        Path | None, typer.Option(help="A run's directory: the lengths of its rows, and what was measured there.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Show how a training would be computed fast, and why.

    The preset of a run chooses level, batch, accumulation and the like; the samples of a step, the schedule and the
    loss stay. Memory and speed are predictions. Without --run, rows are taken to be as long as cutoff_len.

    Example: tunery tune configs/training/qwen3-4b-sft-lora.yaml --model qwen3/config.json --accelerator h100
    """
    from workloads.run_spec_loader import load_run_spec
    from workloads.training_config.preset import choose

    resolved = load_run_spec(config, overrides or [])
    spec = resolved.spec
    device = _device(accelerator or spec.resources.accelerator)
    lengths, measured = (None, {}) if run is None else _of_run(run)
    choice = choose(
        with_deepspeed_path(resolved),
        model_config(resolved, model),
        device,
        mode=spec.preset,
        lengths=lengths,
        processes=spec.resources.count * spec.resources.nodes,
    )
    if as_json:
        print_json({"accelerator": device.title, **choice.as_dict(), "measured": measured or None})
        return
    _show(choice, device, measured)


def _device(name: str | None) -> Device:
    from workloads.training_config.accelerators import find_accelerator
    from workloads.training_config.preset import Device

    if name is None:
        from workloads.training.speed import this_device

        return this_device()
    found = find_accelerator(name)
    return Device(found.title, found.bytes, bf16=found.bf16, tflops=found.tflops, liger=True)


def _of_run(folder: Path) -> tuple[Any, dict[str, Any]]:
    """The lengths of a run's rows, and its last measurement."""
    from workloads.events import read_events
    from workloads.run_record import RunRecord
    from workloads.runtime import RunPaths
    from workloads.training.speed import lengths_of

    paths = RunPaths(folder.resolve())
    RunRecord.read(paths)
    found = [event for event in read_events(paths.events)[0] if event["event"] == "preset_measured"]
    return lengths_of(paths.tokenized), found[-1] if found else {}


def _show(choice: Choice, device: Device, measured: dict[str, Any]) -> None:
    out = console()
    table = plain_table("setting", "value", "because")
    for line in choice.lines:
        table.add_row(line.setting, str(line.value).lower() if isinstance(line.value, bool) else str(line.value),
                      line.because)  # fmt: skip
    out.print(table)
    for refusal in choice.refused:
        out.print(f"Level {refusal.level.name.lower()} is refused: {refusal.reason}.", style="yellow", markup=False)
    if choice.memory is not None and device.bytes is not None:
        shown = f"Memory: {choice.memory / 1e9:.1f} of {device.bytes / 1e9:.1f} GB of one {device.title}"
        out.print(shown + _beside(measured.get("memory"), 1e9, "GB"), markup=False)
    if choice.tokens_per_second is not None:
        speed, plain = choice.tokens_per_second, choice.plain_tokens_per_second or 0.0
        shown = f"Speed: about {speed:,.0f} tokens/s each, {plain:,.0f} without the preset"
        out.print(shown + _beside(measured.get("tokens_per_second"), 1, "tokens/s"), markup=False)
        out.print(f"(from the share of its arithmetic that an {_MEASURED_ON.upper()} reached)", style="dim")


def _beside(value: Any, unit: float, name: str) -> str:
    return f"; measured {value / unit:,.1f} {name}" if isinstance(value, int | float) else ""
