"""Runs as tunery does them, and what a start of one costs beside llamafactory-cli."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.gpu.cases import Case, arguments, drawn_weights

_POLL_SECONDS = 0.005
OWNED = ("tokenized_path", "output_dir", "overwrite_output_dir", "model_name_or_path", "dataset_dir")


def make_run(case: Case, folder: Path, base: Path, runs: Path) -> Path:
    """A run whose data is prepared; its directory. The preset is the case's level: ``fast``, ``auto`` or ``none``."""
    from workloads.engines.create import create, plan
    from workloads.run_spec_loader import load_run_spec
    from workloads.stages.context import RunContext
    from workloads.stages.runner import run_stages

    values = {key: value for key, value in arguments(case, folder, runs).items() if key not in OWNED}
    values |= {"model_name_or_path": str(base), "dataset_dir": str(folder), "output_dir": "unused"}
    name = "".join(letter if letter.isalnum() else "-" for letter in case.name)
    spec = runs / f"{name}.yaml"
    runs.mkdir(parents=True, exist_ok=True)
    spec.write_text(json.dumps({"name": name, "training": values, "preset": case.level}))
    paths = create(plan(load_run_spec(spec)), runs)
    run_stages(RunContext.open(paths.root), ["fetch", "prepare"])
    return paths.root


def train_run(case: Case, folder: Path, runs: Path) -> dict[str, Any]:
    """A run's training in this process, with drawn weights: what it measured, and its events."""
    from workloads.bench.probe import measuring
    from workloads.stages import train
    from workloads.stages.context import RunContext

    root = make_run(case, folder, folder / "models" / case.model, runs)
    context = RunContext.open(root)
    with ExitStack() as stack:
        probe = stack.enter_context(measuring())
        stack.enter_context(drawn_weights(case))
        train.run(context)
    events = [json.loads(line) for line in context.paths.events.read_text().splitlines()]
    shutil.rmtree(context.paths.checkpoints, ignore_errors=True)
    told = [event for event in events if event["event"].startswith(("preset", "checkpoint"))]
    block = None if probe.block is None else probe.block.as_dict()
    return {"block": block, "events": told}


def store(model: str, folder: Path, place: Path) -> dict[str, Any]:
    """Writes a model's folder with drawn weights, as a hub gives it."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    shutil.copytree(folder / "models" / model, place, dirs_exist_ok=True)
    config = AutoConfig.from_pretrained(place)
    with torch.device("cuda"):
        made = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    started = time.monotonic()
    made.save_pretrained(place, max_shard_size="4GB")
    return {"bytes": sum(each.stat().st_size for each in place.iterdir()), "writing": time.monotonic() - started}


def start_plain(case: Case, folder: Path, base: Path, output: Path) -> dict[str, Any]:
    """Seconds from the start of llamafactory-cli to the first step's line in its log."""
    values = arguments(case, folder, output)
    del values["tokenized_path"], values["train_from_scratch"]
    values |= {"model_name_or_path": str(base), "logging_steps": 1, "preprocessing_num_workers": 16, "max_steps": 2}
    file = output.with_suffix(".yaml")
    file.write_text(json.dumps(values))
    return _started([sys.executable, "-m", "llamafactory.cli", "train", str(file)], output, output.with_suffix(".log"))


def start_run(root: Path) -> dict[str, Any]:
    """The same for the training of a run whose data is prepared."""
    for name in ("checkpoints", "trained"):
        shutil.rmtree(root / name, ignore_errors=True)
    (root / "stages" / "train.json").unlink(missing_ok=True)
    command = [sys.executable, "-m", "workloads.stages.train", str(root)]
    return _started(command, root / "checkpoints", root / "start.log")


def _started(command: list[str], output: Path, log: Path) -> dict[str, Any]:
    shutil.rmtree(output, ignore_errors=True)
    first, began = output / "trainer_log.jsonl", time.monotonic()
    environment = {**os.environ, "TUNERY_PARENT_PID": str(os.getpid())}
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, env=environment, start_new_session=True)
    try:
        while not first.is_file() or not first.stat().st_size:
            if process.poll() is not None or time.monotonic() - began > 120:
                raise RuntimeError(f"it did not start: {log.read_text(errors='replace')[-600:]}")
            time.sleep(_POLL_SECONDS)
        return {"first_step": time.monotonic() - began}
    finally:
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.wait()
