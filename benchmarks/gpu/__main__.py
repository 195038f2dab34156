"""``python -m benchmarks.gpu PLANS FOLDER OUT [SECONDS]``: a plan of cases on this machine's GPU.

FOLDER holds what ``prepare`` makes; OUT gets results.jsonl, a line as soon as a case ends. Plans: _PLANS, several with
commas between; what did not fit into the time is named. ``python -m benchmarks.gpu.document`` makes
docs/gpu-figures.md from the committed results.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")  # asking CUDA itself would spoil the forks
os.environ.setdefault("DISABLE_VERSION_CHECK", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:False")

from benchmarks.gpu import cases, plans
from benchmarks.gpu.architectures import ARCHITECTURES
from benchmarks.gpu.cases import Case
from benchmarks.gpu.data import prepare
from benchmarks.gpu.equality import apart
from benchmarks.gpu.forks import Fork, Results, preload, run_cases, run_together
from benchmarks.gpu.runs import make_run, start_plain, start_run, store, train_run


class Session:
    """One call on the machine."""

    def __init__(self, folder: Path, out: Path, seconds: float) -> None:
        self.folder, self.out = folder, out
        self.until = time.monotonic() + seconds
        self.results = Results(out / "results.jsonl")
        self.logs = Path("/dev/shm/tunery-gpu-logs") if Path("/dev/shm").is_dir() else out / "logs"  # noqa: S108 the machine has one user

    def run(self, wanted: list[Case]) -> None:
        """Runs cases, each in a fork."""
        run_cases(self.unknown(wanted), self.train, self.results, self.logs, self.until, tell)

    def unknown(self, wanted: list[Case]) -> list[Case]:
        """Those that no earlier call has done: their names are in FOLDER/known.txt."""
        file = self.folder / "known.txt"
        known = set(file.read_text().splitlines()) if file.is_file() else set()
        return [case for case in wanted if case.name not in known]

    def fork(self, name: str, work: Callable[[], dict[str, Any]], limit: float) -> dict[str, Any]:
        """Runs something that uses the GPU."""
        answer = Fork(work, self.logs / f"{name}.log", limit).wait()
        self.results.add(name, answer)
        print(name, {key: value for key, value in answer.items() if not isinstance(value, list)}, flush=True)
        return answer

    def train(self, case: Case) -> dict[str, Any]:
        return cases.train(case, self.folder, Path("/tmp/tunery-gpu-output"))  # noqa: S108 nothing is kept


def tell(case: Case, answer: dict[str, Any]) -> None:
    """One line a case."""
    from workloads.bench.figures import Block, figures, flops_per_token

    if not answer["ok"]:
        print(f"{case.name:<34} FAILED {answer['error'][:300]} {answer.get('where')}", flush=True)
        return
    block = Block.from_dict(answer["block"])
    last = len(block.steps)
    warmup = last // 3 if last > 2 else 0
    found = figures([[block]], flops_per_token(case.training, answer["config"]), warmup)
    level = answer.get("installed", "plain")
    whole = sum(step.tokens for step in block.steps) / sum(step.seconds for step in block.steps)
    losses = answer["losses"]
    memory = f"{found.allocated / 2**30:5.1f}/{found.reserved / 2**30:5.1f} GiB"
    ends = f"loss {losses[0]:.3f}-{losses[-1]:.3f} {answer['seconds']:.0f} s {answer.get('refused') or ''}"
    speed = f"{found.tokens_per_second:>8,.0f} tok/s whole {whole:>7,.0f} p50 {found.p50 * 1e3:>6.0f} ms"
    print(f"{case.name:<34} {level:<6} {speed} MFU {found.mfu:.0%} {memory} {ends}", flush=True)


def machine() -> dict[str, Any]:
    """What this machine is and can do."""
    import torch

    from workloads.bench.probe import measured_peak

    large = torch.empty(1 << 30, dtype=torch.bfloat16, device="cuda")
    other = torch.empty_like(large)
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    other.copy_(large)
    start.record()
    for _ in range(5):
        other.copy_(large)
    end.record()
    end.synchronize()
    copied = 5 * 2 * large.nbytes / (start.elapsed_time(end) / 1000)
    free, whole = torch.cuda.mem_get_info()
    context = whole - free - torch.cuda.memory_reserved()
    name, flops = torch.cuda.get_device_name(), measured_peak()
    return {"device": name, "torch": torch.__version__, "flops": flops, "copy": copied, "context": context}


def check(session: Session) -> None:
    """Does all of it run here?"""
    session.run(plans.smoke(plans.MODEL, 10))


def speed(session: Session) -> None:
    """The main table: three epochs each."""
    session.run(plans.main_table())


def again(session: Session) -> None:
    """The fastest level for three epochs, beside an epoch of LLaMA-Factory as shipped."""
    session.run(plans.main_table_again())


def losses(session: Session) -> None:
    """Do the levels learn what fp32 learns?"""
    session.run(plans.losses())


def profiles(session: Session) -> None:
    """Where a step's time goes."""
    session.run(plans.profiles())


def others(session: Session) -> None:
    """The same for other models and kinds of training."""
    session.run(plans.others())


def gradients(session: Session) -> None:
    """Each parameter's gradients against those of an fp32 run."""
    wanted = plans.gradients()
    session.run(wanted)
    reference = Path(wanted[0].gradients or "")
    for case in wanted[1:]:
        file = Path(case.gradients or "")
        if reference.is_file() and file.is_file():  # in a fork: sums start threads, which later forks would lack
            session.fork(f"apart {case.name}", lambda file=file: apart(file, reference), 60)  # type: ignore[misc]


def memory(session: Session) -> None:
    """Peaks of many trainings."""
    sized = [(case, estimated(case)) for case in session.unknown(plans.memory())]
    sized.sort(key=lambda each: -each[1])
    run_together(sized, _ROOM, session.train, session.results, session.logs, session.until, tell)


def estimated(case: Case) -> int:
    """Bytes that a case may need, with some to spare; quantized weights are drawn in 16 bits first."""
    from workloads.training_config.memory_estimate import estimate

    training = cases.arguments(case, Path("unused"), Path("unused"))
    found = estimate(training, ARCHITECTURES[case.model])
    drawn = 3 * found.parameters if "quantization_bit" in training else 0
    return int(1.15 * max(found.total, drawn)) + 1_000_000_000


def runs(session: Session) -> None:
    """A whole run of tunery with its preset."""
    _run(session, plans.whole_run())


def checkpoints(session: Session) -> None:
    """What saves cost when all weights are trained."""
    _run(session, *plans.checkpoints())


def _run(session: Session, *wanted: Case) -> None:
    for case in wanted:
        answer = session.fork(
            case.name, lambda case=case: train_run(case, session.folder, _SCRATCH / "runs"), case.limit
        )  # type: ignore[misc]
        if answer["ok"] and answer["block"]:
            tell(case, {**answer, "losses": [0.0], "config": ARCHITECTURES[case.model]})
        for event in answer.get("events", []):
            print("   ", json.dumps(event)[:700], flush=True)


def starts(session: Session) -> None:
    """From the start of a process to its first step, weights on the disk."""
    base = _SCRATCH / "stored"
    session.fork("stored", lambda: store(plans.MODEL, session.folder, base), 90)
    case = Case(
        "start", plans.MODEL, "isolated", "fast", plans.LIGER | {"logging_steps": 1, "max_steps": 2}, stored=True
    )

    def made() -> dict[str, Any]:
        return {"root": str(make_run(case, session.folder, base, _SCRATCH / "runs"))}

    root = session.fork("run made", made, 90)
    plain = replace(case, level=cases.PLAIN)
    session.fork("start plain", lambda: start_plain(plain, session.folder, base, _SCRATCH / "plain"), 150)
    if root["ok"]:
        session.fork("start run", lambda: start_run(Path(root["root"])), 150)


_SCRATCH = Path("/tmp/tunery-gpu")  # noqa: S108 nothing is kept
_ROOM = 78_000_000_000
_LAZY = "TUNERY_GPU_LAZY"
"""Set where an import has touched the GPU, so that forks cannot use it: each case then imports for itself."""
_PLANS: dict[str, Callable[[Session], None]] = {
    each.__name__: each
    for each in (check, speed, again, losses, gradients, profiles, others, memory, runs, checkpoints, starts)
}


def main(wanted: str, folder: Path, out: Path, seconds: float) -> None:
    """Runs plans, named with commas between; none begins a case after ``seconds``."""
    started = time.monotonic()
    prepare(folder)
    if wanted == "prepare":
        return
    session = Session(folder, out, seconds)
    if _LAZY not in os.environ and not preload():
        os.execve(sys.executable, [sys.executable, "-m", "benchmarks.gpu", *sys.argv[1:]], {**os.environ, _LAZY: "1"})  # noqa: S606
    print(f"imported after {time.monotonic() - started:.1f} s", flush=True)
    session.fork("machine", machine, 60)
    for plan in wanted.split(","):
        _PLANS[plan](session)
        print(f"after {plan}: {time.monotonic() - started:.0f} s", flush=True)


if __name__ == "__main__":
    plan, folder, out, *rest = [*sys.argv[1:], *["out"][: 4 - len(sys.argv)]]
    main(plan, Path(folder), Path(out), float(rest[0]) if rest else 540.0)
