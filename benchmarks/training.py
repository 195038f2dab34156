"""``python -m benchmarks.training``: what the worker costs a training, next to plain ``run_exp`` with the same arguments.

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
from pathlib import Path
from typing import Any

from benchmarks.report import Row, report

RESULTS = Path(__file__).parent / "results" / "training.json"
STEPS, SAVE_STEPS, TIMES = 400, 100, 5
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
    """Trains, and prints the seconds between the first step and the last one's end."""
    from llamafactory.train.tuner import run_exp
    from transformers import TrainerCallback

    from workloads.stages.context import RunContext
    from workloads.training.arguments import training_arguments
    from workloads.training.worker import train

    marks: dict[str, tuple[float, float]] = {}

    class Clock(TrainerCallback):  # type: ignore[misc]  # transformers is not followed by mypy
        def on_train_begin(self, *_: Any, **__: Any) -> None:
            marks["begin"] = (time.perf_counter(), time.process_time())

        def on_train_end(self, *_: Any, **__: Any) -> None:
            marks["end"] = (time.perf_counter(), time.process_time())

    import transformers.trainer

    transformers.trainer.DEFAULT_CALLBACKS.append(Clock)
    context = RunContext.open(root)
    started = time.perf_counter()
    if kind == "plain":
        arguments = training_arguments(context.config, context.paths, context.base_model) | {"save_total_limit": 3}
        run_exp(arguments | {"logging_nan_inf_filter": True})
    else:
        train(
            context.config, context.paths, context.base_model, context.events, context.stop,
            recovery=context.spec.recovery,
        )  # fmt: skip
    wall, cpu = (marks["end"][index] - marks["begin"][index] for index in (0, 1))
    print(json.dumps({"wall": wall, "cpu": cpu, "begin": marks["begin"][0] - started}))  # noqa: T201 for the parent


def trained(kind: str, root: Path, *, keep: int | None = None) -> dict[str, float]:
    """Trains in a process of its own, from the beginning or from the checkpoint of step ``keep``."""
    for name in ("trained", "events.jsonl"):
        path = root / name
        shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
    for folder in root.glob("checkpoints/*"):
        if folder.name != f"checkpoint-{keep}":
            shutil.rmtree(folder) if folder.is_dir() else folder.unlink()
    command = [sys.executable, "-m", "benchmarks.training", kind, str(root)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    found: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def stalls(root: Path, wall: float, steps: int, save_steps: int) -> tuple[float, float]:
    """Of a step's time, what a checkpoint costs on average: now, and if the training waited for the commit."""
    lines = [json.loads(line) for line in (root / "events.jsonl").read_text().splitlines()]
    saved = [event for event in lines if event["event"] == "checkpoint_saved"]
    step = (wall - sum(event["seconds"] for event in saved)) / steps
    now, then = (
        statistics.mean(event[name] for event in saved) / save_steps / step for name in ("seconds", "committed_after")
    )
    return now, then


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
        plain, ours = [], []
        for _ in range(TIMES):
            plain.append(trained("plain", small))
            ours.append(trained("worker", small))
        little = stalls(small, ours[-1]["wall"], STEPS, SAVE_STEPS)
        again = trained("worker", small, keep=STEPS - SAVE_STEPS)
        config = {"finetuning_type": "full", "max_steps": LARGE_STEPS, "save_steps": LARGE_SAVE_STEPS}
        large = prepare(scratch, "large", large_model(tiny, scratch / "large"), config)
        much = stalls(large, trained("worker", large)["wall"], LARGE_STEPS, LARGE_SAVE_STEPS)
    wall, cpu = (min(each[key] for each in ours) / min(each[key] for each in plain) for key in ("wall", "cpu"))
    cold = statistics.median(each["begin"] for each in ours)
    print(json.dumps(dict(wall=wall, cpu=cpu, little=little, much=much, again=again, cold=cold, plain=plain, ours=ours)))


if __name__ == "__main__":
    if len(sys.argv) == 3:
        child(sys.argv[1], Path(sys.argv[2]))
    else:
        main()
