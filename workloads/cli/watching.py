"""A run on the screen: a line for each stage, a bar for the training, and what interrupted it."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Any

from workloads.runtime import STAGES

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import TaskID

_WORDS = {
    "fetch": "base model from the hub, verified",
    "prepare": "data copied, checked and tokenized",
    "train": "LLaMA-Factory's trainer",
    "evaluate": "before and after, on held-out data",
    "export": "one folder that other tools load",
    "publish": "a new version in the hub",
    "serve": "one question through the API",
}


class RunView:
    """Shows the events of a run; use it as a context manager around ``Execution.wait``."""

    def __init__(self, console: Console) -> None:
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self._console = console
        self._bars = Progress(
            TextColumn("  [cyan]train[/]"),
            BarColumn(bar_width=32),
            TextColumn("step {task.completed:.0f}/{task.total:.0f}"),
            TextColumn("{task.fields[note]}"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task: TaskID | None = None
        self._said_at_step = 0

    def __enter__(self) -> RunView:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def show(self, event: dict[str, Any]) -> None:
        """Shows one event, when it is one for a person."""
        handler = getattr(self, f"_{event['event']}", None)
        if handler is not None:
            handler(event)

    def _line(self, mark: str, style: str, stage: str, text: str) -> None:
        from rich.text import Text

        line = Text.assemble((f"{mark} ", style), (f"{stage:<9}", "bold"), (text, "dim" if mark == "·" else ""))
        self._bars.console.print(line)

    def _workflow(self, event: dict[str, Any]) -> None:
        """On an environment, what Kubernetes says of a stage before and beside what the stage says itself."""
        stage, note = event["stage"], event.get("note") or ""
        if event["phase"] == "Pending" and stage in STAGES:
            self._line("…", "yellow", stage, note or "waits for a node")
        elif stage == "approve" and event["phase"] == "Running":
            self._line("…", "yellow", stage, "a person must approve: tunery approve RUN")
        elif event["phase"] in ("Failed", "Error") and note and stage in STAGES:
            self._line("✗", "red", stage, note)

    def _stage_started(self, event: dict[str, Any]) -> None:
        stage = event["stage"]
        if stage in STAGES:
            self._line("·", "dim", stage, _WORDS[stage])

    def _stage_finished(self, event: dict[str, Any]) -> None:
        if event["stage"] == "train":
            self._remove_bar()
        self._line("✓", "green", event["stage"], f"{event['seconds']:.1f} s")

    def _stage_skipped(self, event: dict[str, Any]) -> None:
        self._line("✓", "green", event["stage"], "done before")

    def _stage_failed(self, event: dict[str, Any]) -> None:
        self._line("✗", "red", event["stage"], "failed")

    def _trial_started(self, event: dict[str, Any]) -> None:
        self._said_at_step = 0
        if not event["rung"]:
            from workloads.sweep.trials import describe

            self._line("·", "dim", f"trial {event['trial']}", describe(event["parameters"]))

    def _trial_measured(self, event: dict[str, Any]) -> None:
        self._remove_bar()
        value = "not measured" if event["value"] is None else f"{event['value']:.4g}"
        text = f"{event['metric']} {value} at step {event['reached']}"
        self._line("✓", "green", f"trial {event['trial']}", text)

    def _trial_failed(self, event: dict[str, Any]) -> None:
        self._remove_bar()
        reason = event["problems"][0].get("message", "") if event["problems"] else ""
        self._line("✗", "red", f"trial {event['trial']}", reason)

    def _sweep_decided(self, event: dict[str, Any]) -> None:
        self._line("★", "green", f"trial {event['trial']}", f"is the best: {event['metric']} {event['value']:.4g}")

    def _resumed(self, event: dict[str, Any]) -> None:
        self._line("↻", "yellow", "train", f"resumed at step {event['step']}")

    def _checkpoint_damaged(self, event: dict[str, Any]) -> None:
        reason = event["reasons"][0] if event["reasons"] else "it does not verify"
        self._line("!", "yellow", "train", f"{event['checkpoint']} is skipped: {reason}")

    def _preempted(self, event: dict[str, Any]) -> None:
        self._line("■", "yellow", "train", f"stopped; step {event['step']} of {event['max_steps']} is saved")

    def _remove_bar(self) -> None:
        if self._task is not None:
            self._bars.remove_task(self._task)
            self._task = None

    def _progress(self, event: dict[str, Any]) -> None:
        if self._task is None:
            self._task = self._bars.add_task("train", total=event["max_steps"], note="")
        note = [] if event.get("loss") is None else [f"loss {event['loss']:.3f}"]
        if event.get("tokens_per_second"):
            note.append(f"{event['tokens_per_second']:,.0f} tokens/s")
        self._bars.update(self._task, completed=event["step"], total=event["max_steps"], note="  ".join(note))
        if not self._console.is_terminal and event["step"] >= self._said_at_step + max(event["max_steps"] // 5, 1):
            self._said_at_step = event["step"]
            self._line("·", "dim", "train", f"step {event['step']}/{event['max_steps']}  " + "  ".join(note))
