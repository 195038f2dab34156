"""``python -m benchmarks.training``: what the worker costs, beside plain ``run_exp`` on the same arguments.

Both train the tiny model in processes of their own, in turn; imports and loading are left out. Prints a table and
writes benchmarks/results/training.json. Single times depend on the machine; ratios travel.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.report import Row, report

RESULTS = Path(__file__).parent / "results" / "training.json"
STEPS, SAVE_STEPS, TIMES = 300, 100, 4
LARGE_STEPS, LARGE_SAVE_STEPS = 12, 4
_LARGE = {"hidden_size": 768, "intermediate_size": 2048, "num_hidden_layers": 8, "num_attention_heads": 12}


def prepare(scratch: Path, name: str, model: Path, training: dict[str, Any]) -> Path:
    """A run that is ready to train."""
    from workloads.engines.create import create, plan
    from workloads.run_spec_loader import load_run_spec
    from workloads.stages.context import RunContext
    from workloads.stages.runner import run_stages

    data = scratch / "data"
    data.mkdir(exist_ok=True)
    rows = [{"instruction": f"Say {n}.", "input": "", "output": f"It is {n}."} for n in range(256)]
    (data / "numbers.json").write_text(json.dumps(rows))
    (data / "dataset_info.json").write_text(json.dumps({"numbers": {"file_name": "numbers.json"}}))
    values = {
        "stage": "sft",
        "do_train": True,
        "dataset": "numbers",
        "dataset_dir": str(data),
        "template": "qwen",
        "cutoff_len": 64,
        "model_name_or_path": str(model),
        "per_device_train_batch_size": 4,
        "learning_rate": 1e-4,
        "output_dir": "x",
    }
    spec = data / f"{name}.yaml"
    spec.write_text(json.dumps({"name": name, "training": values | training}))
    paths = create(plan(load_run_spec(spec)), scratch / "runs")
    run_stages(RunContext.open(paths.root), ["fetch", "prepare"])
    return paths.root


def large_model(tiny: Path, folder: Path) -> Path:
    """A model with the tiny one's tokenizer, whose checkpoints are some 700 MB."""
    from transformers import AutoConfig, AutoModelForCausalLM

    shutil.copytree(tiny, folder)
    config = AutoConfig.from_pretrained(tiny)
    config.update(_LARGE | {"num_key_value_heads": 12, "head_dim": 64})
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder


def child(kind: str, root: Path) -> None:
    """Trains, and prints seconds: of the steps, by wall and by CPU; of the worker's callbacks; when they begin."""
    from llamafactory.train.tuner import run_exp
    from transformers import TrainerCallback

    from workloads.stages.context import RunContext
    from workloads.training.arguments import training_arguments
    from workloads.training.callbacks import WorkerCallback
    from workloads.training.divergence import LossWatch
    from workloads.training.stall import StallWatch
    from workloads.training.worker import train

    marks: dict[str, tuple[float, float]] = {}

    class Clock(TrainerCallback):  # type: ignore[misc]  # transformers is not followed by mypy
        def on_train_begin(self, *_: Any, **__: Any) -> None:
            marks["begin"] = (time.perf_counter(), time.process_time())
            marks["began"] = (time.time(), 0.0)

        def on_train_end(self, *_: Any, **__: Any) -> None:
            marks["end"] = (time.perf_counter(), time.process_time())

    import transformers.trainer

    transformers.trainer.DEFAULT_CALLBACKS.append(Clock)
    context = RunContext.open(root)
    own = [0.0]
    for watched in (WorkerCallback, LossWatch, StallWatch):
        time_methods(watched, own)
    if kind == "plain":
        arguments = training_arguments(context.config, context.paths, context.base_model) | {"save_total_limit": 3}
        run_exp(arguments | {"logging_nan_inf_filter": True})
    else:
        train(
            context.config, context.paths, context.base_model, context.events, context.stop,
            recovery=context.spec.recovery,
        )  # fmt: skip
    wall, cpu = (marks["end"][index] - marks["begin"][index] for index in (0, 1))
    print(json.dumps({"wall": wall, "cpu": cpu, "own": own[0], "begin": marks["began"][0]}))


def time_methods(watched: type, total: list[float]) -> None:
    """Adds the seconds that a callback's methods take to ``total``; saves are counted by their events."""
    for name, method in list(vars(watched).items()):
        if name.startswith("on_") and name != "on_save":
            setattr(watched, name, _timed(method, total))


def _timed(method: Callable[..., Any], total: list[float]) -> Callable[..., Any]:
    def timed(*arguments: Any, **named: Any) -> Any:
        started = time.perf_counter()
        try:
            return method(*arguments, **named)
        finally:
            total[0] += time.perf_counter() - started

    return timed


def trained(kind: str, root: Path, *, keep: int | None = None) -> dict[str, float]:
    """Trains in a process of its own, from the beginning or from the checkpoint of step ``keep``."""
    for name in ("trained", "events.jsonl"):
        path = root / name
        shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
    for folder in root.glob("checkpoints/*"):
        if folder.name != f"checkpoint-{keep}":
            shutil.rmtree(folder) if folder.is_dir() else folder.unlink()
    started = time.time()
    command = [sys.executable, "-m", "benchmarks.training", kind, str(root)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    found: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return found | {"begin": found["begin"] - started}


def stalls(root: Path, wall: float, steps: int, save_steps: int) -> tuple[float, float]:
    """Of a step's time, what a checkpoint costs on average: now, and if the training waited for the commit."""
    lines = [json.loads(line) for line in (root / "events.jsonl").read_text().splitlines()]
    saved = [event for event in lines if event["event"] == "checkpoint_saved"]
    step = (wall - sum(event["seconds"] for event in saved)) / steps
    now, then = (
        statistics.mean(event[name] for event in saved) / save_steps / step for name in ("seconds", "committed_after")
    )
    return now, then


def least(found: list[dict[str, float]], key: str) -> float:
    """The smallest of several measurements: other work on the machine only adds."""
    return min(each[key] for each in found)


def _against(measure: str, ours: list[dict[str, float]], plain: list[dict[str, float]], key: str) -> Row:
    mine, theirs = least(ours, key), least(plain, key)
    return Row(measure, mine, theirs, "s", "at most 2 % more", mine <= 1.02 * theirs)


def main() -> None:
    """Measures and reports."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    from workloads.demo.tiny_model import build_tiny_model

    with tempfile.TemporaryDirectory(prefix="tunery-bench-") as name:
        scratch = Path(name)
        os.environ["TUNERY_CACHE"] = str(scratch / "cache")
        tiny = build_tiny_model(scratch / "tiny")
        small = prepare(scratch, "small", tiny, {"max_steps": STEPS, "save_steps": SAVE_STEPS})
        plain, ours, again = [], [], []
        for _ in range(TIMES):
            plain.append(trained("plain", small))
            ours.append(trained("worker", small))
            little = stalls(small, ours[-1]["wall"], STEPS, SAVE_STEPS)
            again.append(trained("worker", small, keep=STEPS - SAVE_STEPS))
        config = {"finetuning_type": "full", "max_steps": LARGE_STEPS, "save_steps": LARGE_SAVE_STEPS}
        large = prepare(scratch, "large", large_model(tiny, scratch / "large"), config)
        much = stalls(large, trained("worker", large)["wall"], LARGE_STEPS, LARGE_SAVE_STEPS)

    own = least(ours, "own") / least(ours, "wall") * 100
    resumed, cold = least(again, "begin"), least(ours, "begin")
    rows = [
        _against("steps, by wall", ours, plain, "wall"),
        _against("steps, by CPU, commits in it", ours, plain, "cpu"),
        Row("  of it in callbacks", own, None, "%", "told only", met=True),
        Row("start to first step, resumed / cold", resumed, cold, "s", "at most 1.2 times", resumed <= 1.2 * cold),
        Row("stall, tiny adapter, of a step", little[0] * 100, None, "%", "at most 5 %", little[0] <= 0.05),
        Row("  were the commit waited for", little[1] * 100, None, "%", "told only", met=True),
        Row("stall, 700 MB every 4 steps, of a step", much[0] * 100, None, "%", "at most 5 %", much[0] <= 0.05),
        Row("  were the commit waited for", much[1] * 100, None, "%", "told only", met=True),
    ]
    raise SystemExit(report(rows, RESULTS))


if __name__ == "__main__":
    if len(sys.argv) == 3:
        child(sys.argv[1], Path(sys.argv[2]))
    else:
        main()
