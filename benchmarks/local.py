"""``make bench``: the local pipeline against plain llamafactory-cli, both in turn on the same machine.

Prints a table and writes benchmarks/results/local.json. Single times depend on the machine; ratios travel.
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
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil
import yaml

from benchmarks.report import Row, report

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
RESULTS = Path(__file__).parent / "results" / "local.json"
CONFIG = ROOT / "configs" / "training" / "tiny-sft-lora.yaml"
SPEC = ROOT / "configs" / "runs" / "demo.yaml"
TUNERY, PLAIN = str(BIN / "tunery"), str(BIN / "llamafactory-cli")


def wall(command: Sequence[str], *, env: dict[str, str], codes: Sequence[int] = (0,), given: str = "") -> float:
    """Seconds of wall time of one command."""
    started = time.perf_counter()
    done = subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, input=given, check=False)
    seconds = time.perf_counter() - started
    if done.returncode not in codes:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}:\n{(done.stdout + done.stderr)[-2000:]}")
    return seconds


def median(times: int, measure: Callable[[], float]) -> float:
    """The median of several measurements after one that does not count."""
    measure()
    return statistics.median(measure() for _ in range(times))


def bad_config(scratch: Path) -> Path:
    """The demo's config with a misspelt key."""
    values = yaml.safe_load(CONFIG.read_text())
    path = scratch / "misspelt.yaml"
    path.write_text(yaml.safe_dump({**values, "learning_rat": 1e-4, "dataset_dir": str(_dataset_dir(values))}))
    return path


def _dataset_dir(values: dict[str, Any]) -> Path:
    named = Path(values["dataset_dir"])
    return (ROOT / named if (ROOT / named).exists() else CONFIG.parent / named).resolve()


def checks(scratch: Path, env: dict[str, str]) -> list[Row]:
    """How long a person waits for --help, for a good config and for a misspelt key."""
    shown = median(10, lambda: wall([TUNERY, "--help"], env=env))
    checked = median(10, lambda: wall([TUNERY, "check", str(CONFIG)], env=env))
    bad = bad_config(scratch)
    refused = median(10, lambda: wall([TUNERY, "check", str(bad)], env=env, codes=(64,)))
    plain = median(3, lambda: wall([PLAIN, "train", str(bad)], env=env, codes=(1,)))
    return [
        Row("tunery --help", shown, None, "s", "under 0.2", shown < 0.2),
        Row("check of a config", checked, None, "s", "under 0.25", checked < 0.25),
        Row("a misspelt key refused", refused, plain, "s", "40 times faster", plain / refused >= 40),
    ]


def pipeline(scratch: Path, env: dict[str, str]) -> list[Row]:
    """Train, evaluate, export and one generation: one warm process against a command each."""
    base = scratch / "base"
    wall([sys.executable, "-m", "workloads.demo", str(base)], env=env)
    wall([TUNERY, "import", str(base), "tunery/tiny"], env=env)
    spec = yaml.safe_load(SPEC.read_text())
    warm: list[float] = []
    separate: list[float] = []
    for _ in range(3):
        shutil.rmtree(env["TUNERY_RUNS"], ignore_errors=True)
        warm.append(wall([TUNERY, "run", str(SPEC)], env=env))
        separate.append(_by_separate_commands(scratch, env, base, spec))
    ours, plain = statistics.median(warm), statistics.median(separate)
    name = "train + evaluate + export + generate"
    return [Row(name, ours, plain, "s", "at most half", ours <= plain / 2)]


def _by_separate_commands(scratch: Path, env: dict[str, str], base: Path, spec: dict[str, Any]) -> float:
    values = yaml.safe_load(CONFIG.read_text()) | spec.get("overrides", {})
    output, merged = scratch / "plain", scratch / "merged"
    for folder in (output, merged):
        shutil.rmtree(folder, ignore_errors=True)
    values |= {"model_name_or_path": str(base), "output_dir": str(output), "dataset_dir": str(_dataset_dir(values))}
    values |= {"overwrite_output_dir": True, "report_to": "none"}
    model = {"model_name_or_path": str(base), "adapter_name_or_path": str(output), "template": values["template"]}
    steps: list[tuple[str, dict[str, Any], str]] = [
        ("train", values, ""),
        ("train", {**values, "adapter_name_or_path": str(output), "do_train": False, "do_eval": True}, ""),
        ("export", {**model, "finetuning_type": "lora", "export_dir": str(merged)}, ""),
        ("chat", {"model_name_or_path": str(merged), "template": values["template"]}, "Restart billing.\nexit\n"),
    ]
    seconds = 0.0
    for number, (verb, config, given) in enumerate(steps):
        path = scratch / f"{number}-{verb}.yaml"
        path.write_text(yaml.safe_dump(config))
        seconds += wall([PLAIN, verb, str(path)], env=env, given=given)
    return seconds


def interruption(env: dict[str, str]) -> list[Row]:
    """From SIGTERM to exit 75, and the memory of the process that watches."""
    shutil.rmtree(env["TUNERY_RUNS"], ignore_errors=True)
    parent = subprocess.Popen([TUNERY, "run", str(SPEC)], env=env, cwd=ROOT, stdout=subprocess.DEVNULL)
    memory = 0.0
    while not _trained_steps(Path(env["TUNERY_RUNS"])):
        memory = max(memory, psutil.Process(parent.pid).memory_info().rss / 1e6)
        time.sleep(0.05)
    memory = max(memory, psutil.Process(parent.pid).memory_info().rss / 1e6)
    started = time.perf_counter()
    parent.terminate()
    code = parent.wait()
    seconds = time.perf_counter() - started
    events = _events(Path(env["TUNERY_RUNS"]))
    saved = next(event["step"] for event in events if event["event"] == "preempted")
    reached = max(event["step"] for event in events if event["event"] in ("log", "checkpoint_saved"))
    return [
        Row("SIGTERM to exit 75", seconds, None, "s", "under 2", code == 75 and seconds < 2),
        Row("steps lost by SIGTERM", reached - saved, None, "steps", "0", reached == saved),
        Row("memory of the parent while training", memory, None, "MB", "under 120", memory < 120),
    ]


def _events(runs: Path) -> list[dict[str, Any]]:
    lines = [line for path in runs.glob("*/events.jsonl") for line in path.read_text().splitlines()]
    return [json.loads(line) for line in lines]


def _trained_steps(runs: Path) -> int:
    return max((event["step"] for event in _events(runs) if event["event"] == "log"), default=0)


def main() -> int:
    """Measures, prints and writes; the exit code says whether every goal is met."""
    with tempfile.TemporaryDirectory(prefix="tunery-bench-") as name:
        scratch = Path(name)
        places = {"TUNERY_HUB": "hub", "TUNERY_CACHE": "cache", "TUNERY_RUNS": "runs"}
        env = {**os.environ, **{key: str(scratch / value) for key, value in places.items()}, "OMP_NUM_THREADS": "1"}
        env |= {"HF_HUB_OFFLINE": "1", "DISABLE_VERSION_CHECK": "1"}
        rows = checks(scratch, env) + pipeline(scratch, env) + interruption(env)
    return report(rows, RESULTS)


if __name__ == "__main__":
    sys.exit(main())
