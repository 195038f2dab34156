"""``python -m benchmarks.gpu.scaling FOLDER OUT``: one training over 1 and over 2 GPUs of a machine.

FOLDER is what ``python -m benchmarks.gpu prepare FOLDER`` makes. Each kind of training runs on one GPU and on two, in
turn, with the same samples in a step; then it is stopped by SIGTERM, and goes on with as many processes and with
another number. A line of OUT/scaling.jsonl is written as soon as it is known. Needs deepspeed (with DS_BUILD_OPS=0 it
is pure Python) and some 6 minutes on two H200; leave NCCL's NVLS off where others share the machine.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.gpu.cases import Case, arguments
from benchmarks.gpu.forks import Fork, Results
from benchmarks.gpu.runs import OWNED, store
from workloads.bench.blocks import measure, subject
from workloads.events import read_events
from workloads.training.world import World

ROOT = Path(__file__).parents[2]
MODEL = "qwen3-4b"
WARMUP, STEPS, COUNTS = 3, 12, (1, 2)
GOALS = {"ddp-lora": 1.9, "zero2-full": 1.8, "zero3-full": 1.7, "fsdp-full": 1.7}
"""How many times as fast two GPUs should be."""
_FULL = {"finetuning_type": "full", "bf16": True, "learning_rate": 1e-5, "disable_gradient_checkpointing": False}
_KINDS: dict[str, dict[str, Any]] = {
    "ddp-lora": {"disable_gradient_checkpointing": True},
    "zero2-full": _FULL | {"deepspeed": str(ROOT / "configs" / "deepspeed" / "zero2.json")},
    "zero3-full": _FULL | {"deepspeed": str(ROOT / "configs" / "deepspeed" / "zero3.json")},
    "fsdp-full": _FULL | {"fsdp": "full_shard auto_wrap", "fsdp_transformer_layer_cls_to_wrap": "Qwen3DecoderLayer"},
}
_TUNERY = "from workloads.cli.main import main; main()"
_PREFLIGHT = """
import os, sys, time
from datetime import timedelta
import torch.distributed as dist
from workloads.training.preflight import join
place = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
store = dist.TCPStore(*place, is_master=False, wait_for_workers=False)
started = time.monotonic()
join(store, int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]), 1, timedelta(seconds=60))
print("seconds", time.monotonic() - started, flush=True)
os._exit(0)
"""


def spec(kind: str, folder: Path, base: Path, place: Path, **more: Any) -> Path:
    """A run spec for one GPU; tunery shares its samples out over two."""
    rows = {"enable_liger_kernel": True, "per_device_train_batch_size": 4, "gradient_accumulation_steps": 2}
    case = Case(kind, MODEL, "isolated", training=rows | _KINDS[kind] | more, stored=True)
    values = {key: value for key, value in arguments(case, folder, place).items() if key not in OWNED}
    values |= {"model_name_or_path": str(base), "dataset_dir": str(folder), "output_dir": "unused"}
    del values["train_from_scratch"]
    file = place / f"{kind}{''.join(f'-{key}' for key in more)}.yaml"
    file.write_text(json.dumps({"name": kind, "training": values}))
    return file


def _told(text: str) -> None:
    print(text, flush=True)


def speed(kind: str, folder: Path, base: Path, place: Path) -> dict[str, Any]:
    """Figures of 1 and of 2 GPUs, and how many times as fast 2 are."""
    found = []
    for count in COUNTS:
        one = subject(spec(kind, folder, base, place), [], WARMUP + STEPS, place / f"{kind}-{count}")
        measure([one], 1, World(count), _told)
        found.append(one.figures(WARMUP))
    times = found[1].tokens_per_second / found[0].tokens_per_second
    return {"kind": kind, "times": times, "goal": GOALS[kind], "figures": [asdict(each) for each in found]}


def stopping(kind: str, folder: Path, base: Path, place: Path) -> dict[str, Any]:
    """Seconds from SIGTERM to the exit, its code, and where the run went on from with 2 processes and with 1."""
    file = spec(kind, folder, base, place, max_steps=30, save_steps=1000)
    environment = {**os.environ, "TUNERY_RUNS": str(place / "stopped")}
    answer: dict[str, Any] = {"kind": f"stop {kind}", "attempts": []}
    for count in (2, 2, 1):
        command = [sys.executable, "-c", _TUNERY, "run", str(file), "--nproc", str(count)]
        process = subprocess.Popen(command, env=environment, cwd=ROOT, stdout=subprocess.DEVNULL)
        before = len(_events(place, "log"))
        while process.poll() is None and len(_events(place, "log")) == before:
            time.sleep(0.1)
        started = time.monotonic()
        process.send_signal(signal.SIGTERM)
        code = process.wait(120)
        resumed = [event["step"] for event in _events(place, "resumed")]
        seconds = time.monotonic() - started
        answer["attempts"].append({"processes": count, "code": code, "seconds": seconds, "resumed": resumed[-1:]})
    return answer


def _events(place: Path, name: str) -> list[dict[str, Any]]:
    files = (place / "stopped").glob("*/events.jsonl")
    return [event for file in files for event in read_events(file, 0)[0] if event["event"] == name]


def preflight() -> dict[str, Any]:
    """Seconds that the ranks need to find one another and to sum a number, as each rank saw it."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "preflight.py"
        file.write_text(_PREFLIGHT)
        command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", str(file)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=True)
    seconds = [float(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("seconds")]
    return {"kind": "preflight", "seconds": seconds}


def main(folder: Path, out: Path) -> None:
    """Measures all of it; what fails costs itself only."""
    results = Results(out / "scaling.jsonl")
    with tempfile.TemporaryDirectory(prefix="tunery-scaling-") as name:
        place = Path(name)
        base = place / "model"
        Fork(lambda: store(MODEL, folder, base), place / "store.log", 180).wait()
        parts: list[Callable[[], dict[str, Any]]] = [preflight]
        parts += [lambda kind=kind: speed(kind, folder, base, place) for kind in _KINDS]  # type: ignore[misc]
        parts += [lambda kind=kind: stopping(kind, folder, base, place) for kind in _KINDS]  # type: ignore[misc]
        for part in parts:
            try:
                answer = part()
            except Exception as error:
                answer = {"kind": "failed", "error": f"{type(error).__name__}: {error}"[:1000]}
            results.add(answer.pop("kind"), answer)
            print(json.dumps(answer)[:1000], flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), Path(sys.argv[2]))
