"""``make bench-cluster``: what tunery, Argo and Kueue add on a real cluster, and a queue of 200 runs.

The hand-written Job starts the same command in the same image. Once that is the real first stage; once it is a script
that does nothing, where all that is measured is the way to it. A hand-written Workflow with that one step says how
much of the way is Argo's: its controller, its init container and its sidecar. A worker's first line is a file that it
makes in a folder which the cluster's only node and this machine share.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.report import Row, report
from tests.cluster.place import APPLY, SHELL_IMAGE, Place, opened, queue, real_stages, run_kubectl
from workloads import platform
from workloads.engines import cluster_client as k8s
from workloads.engines.cluster_login import open_cluster
from workloads.render.run import ClusterRun
from workloads.render.training import gpu_stage
from workloads.run_spec import RunSpec

RESULTS = Path(__file__).parent / "results" / "cluster.json"
REPETITIONS = 5
MOST_TIMES = 1.5
RUNS = 200
AT_ONCE = 5
"""Of each team."""
PRIORITIES = {"low": -100, "normal": 0, "high": 100}
TEAMS = ("bench-a", "bench-b")
_IMAGES = ("stager", "trainer", "server")
_PATIENCE_SECONDS = 600.0
_PLAYER = """#!/bin/sh
# Plays one stage: $3 is the stage, $4 the run.
mkdir -p "$TUNERY_STORE/$4"
touch "$TUNERY_STORE/$4/$3"
echo "the stage $3 works"
"""


def main() -> int:
    """Prints the figures and writes them down; 1 when a goal is missed."""
    return report([*first_lines(), *queued_runs()], RESULTS)


def played(root: Path) -> dict[str, Any]:
    """The contract's ``local`` for pods that run the script."""
    player = root / "play"
    player.write_text(_PLAYER)
    player.chmod(0o755)
    return {
        "store": str(root / "store"),
        "python": str(player),
        "images": dict.fromkeys(_IMAGES, SHELL_IMAGE),
        "mounts": [{"path": str(root), "read_only": False}],
    }


def until(reached: Callable[[], Any]) -> None:
    """Waits for something to be true."""
    end = time.monotonic() + _PATIENCE_SECONDS
    while not reached():
        if time.monotonic() > end:
            raise TimeoutError
        time.sleep(0.005)


# ---- from submit to a worker's first line


def first_lines() -> Iterator[Row]:
    """tunery against ``kubectl apply`` of a hand-written Job and Workflow with the same command, in turn."""
    for name, local, line in (("the stage's", real_stages, "events.jsonl"), ("a script's", played, "fetch")):
        with opened(run_kubectl, "bench", local) as place:
            spec = prepared_spec(place)
            taken = [compared(place, spec, number, line) for number in range(REPETITIONS + 1)]
        sent, ours, argo, job = (median(each) for each in zip(*taken[1:], strict=True))  # the first warms caches up
        goal = f"at most {MOST_TIMES} times a Job and kubectl apply"
        yield Row(f"submit to {name} first line", ours, job, "s", goal, ours <= MOST_TIMES * job)
        yield Row(f"submit to {name} first line, plain: a Workflow", ours, argo, "s", "for information", True)
        yield Row("of that: until its inputs are stored", sent, None, "s", "for information", True)


def prepared_spec(place: Place) -> Path:
    """A spec whose base model and data are there."""
    from workloads.demo.tiny_model import build_tiny_model

    base = place.root / "weights"
    build_tiny_model(base)
    place.tunery("import", str(base), "tiny")
    rows = [{"instruction": f"{n}?", "input": "", "output": "!"} for n in range(32)]
    (place.root / "numbers.json").write_text(json.dumps(rows))
    (place.root / "dataset_info.json").write_text(json.dumps({"numbers": {"file_name": "numbers.json"}}))
    training = {
        "stage": "sft",
        "do_train": True,
        "finetuning_type": "lora",
        "dataset": "numbers",
        "dataset_dir": str(place.root),
        "template": "qwen",
        "cutoff_len": 64,
        "output_dir": "saves/x",
        "max_steps": 4,
    }
    spec = {"name": "bench", "training": training, "base": {"model": "tiny"}, "resources": {"pool": "cpu"}}
    path = place.root / "bench.json"
    path.write_text(json.dumps(spec))
    return path


def compared(place: Place, spec: Path, number: int, line: str) -> tuple[float, float, float, float]:
    """Seconds from the start of ``tunery run`` until the run's inputs are stored, and to the first file that a worker
    leaves; then from the start of ``kubectl apply`` to that file, for a Workflow and for a Job.
    """
    command = ("run", str(spec), f"seed={number}", "--on", "kit", "--json")
    (workflow,) = json.loads(place.tunery(*command, "--dry-run"))
    run = workflow["metadata"]["name"]
    first = place.store / run / line
    began, started = time.time(), time.monotonic()
    with place.start(*command) as process:
        until(lambda: first.exists() or process.poll())
        with_tunery = time.monotonic() - started
        out, err = process.communicate()
    sent = (first.parent / "run.json").stat().st_mtime - began
    if process.returncode:
        raise RuntimeError(out + err)
    clear(place, run, first)
    stage = next(each for each in workflow["spec"]["templates"] if each["name"] == "fetch")
    alone = {**workflow["spec"], "entrypoint": "fetch", "templates": [stage]}
    meta = {**workflow["metadata"], "name": f"plain-{number}"}
    argo = by_hand(place, {**workflow, "metadata": meta, "spec": alone}, first)
    clear(place, f"plain-{number}", first)
    job = by_hand(place, hand_written(place, f"plain-{number}", stage), first)
    until(lambda: place.get("job", f"plain-{number}")["status"].get("succeeded"))
    return sent, with_tunery, argo, job


def by_hand(place: Place, manifest: dict[str, Any], first: Path) -> float:
    """Seconds from the start of ``kubectl apply`` to the file."""
    file = place.root / "by-hand.json"
    file.write_text(json.dumps(manifest))
    started = time.monotonic()
    done = run_kubectl("apply", "-f", str(file))
    if done.returncode:
        raise RuntimeError(done.stderr)
    until(first.exists)
    return time.monotonic() - started


def clear(place: Place, workflow: str, first: Path) -> None:
    """Takes away a workflow with its pods, and what its first stage left."""
    run_kubectl("delete", "workflow", workflow, "-n", place.namespace)
    until(lambda: not place.get("pods", "-l", f"workflows.argoproj.io/workflow={workflow}")["items"])
    for left in (first, first.parent / "stages" / "fetch.json"):
        left.unlink(missing_ok=True)


def hand_written(place: Place, name: str, stage: dict[str, Any]) -> dict[str, Any]:
    """A Job as one writes it by hand, with what a stage's template starts."""
    keys = ("image", "command", "env", "volumeMounts")
    container = {"name": "main", **{key: stage["container"][key] for key in keys}}
    pod = {
        "restartPolicy": "Never",
        "containers": [container],
        "volumes": stage["volumes"],
        "securityContext": stage["securityContext"],
    }
    meta = {"name": name, "namespace": place.namespace}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": meta, "spec": {"template": {"spec": pod}}}


# ---- 200 runs in the queue


@dataclass(frozen=True)
class Admitted:
    """When a run's quota was reserved (whole seconds), of which team and priority it is, and whether it succeeded."""

    team: str
    priority: str
    at: float
    succeeded: bool


def queued_runs() -> Iterator[Row]:
    """200 trainings of two teams and three priorities, sent while the queues are held, and then let go."""
    with two_teams() as places:
        jobs = [job_of(places[number % 2], number) for number in range(RUNS)]
        cluster = open_cluster(platform.load("kit", places[0].root / "platform"), patience=60.0)
        started = time.monotonic()
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda job: cluster.create(k8s.JOB, job), jobs))
        sent = time.monotonic() - started
        until(lambda: sum(len(workloads(place)) for place in places) == RUNS)
        configure(places, stop="None")
        started = time.monotonic()
        until(lambda: all(ended(place) == RUNS // 2 for place in places))
        taken = time.monotonic() - started
        found = [each for place in places for each in admitted(place)]
    lost = RUNS - sum(each.succeeded for each in found)
    early = sum(out_of_order([each for each in found if each.team == team]) for team in TEAMS)
    yield Row(f"{RUNS} runs sent", sent, None, "s", "for information", True)
    yield Row(f"{RUNS} runs ended", taken, None, "s", f"none lost: {lost} lost", lost == 0)
    yield Row("admitted before one of a higher priority", early, None, "runs", "none", early == 0)
    most = uneven(found)
    yield Row("one team ahead", most, None, "runs", f"at most {2 * AT_ONCE}", most <= 2 * AT_ONCE)


@contextmanager
def two_teams() -> Iterator[list[Place]]:
    """Two teams of one cohort with an equal share, whose queues are held."""
    classes = [
        {"apiVersion": k8s.PRIORITY.api, "kind": "WorkloadPriorityClass", "metadata": {"name": name}, "value": value}
        for name, value in PRIORITIES.items()
    ]
    with ExitStack() as stack:
        places = [stack.enter_context(opened(run_kubectl, team, played)) for team in TEAMS]
        run_kubectl(*APPLY, objects=classes)
        configure(places, stop="Hold")
        yield places


def configure(places: list[Place], stop: str) -> None:
    """Gives the teams their queues, which are held or not."""
    objects = []
    for place in places:
        found = queue(place.team, cpus=f"{100 * AT_ONCE}m")
        quota = next(each for each in found if each["kind"] == "ClusterQueue")
        quota["spec"] |= {"cohortName": "bench", "stopPolicy": stop}
        objects += found
    done = run_kubectl(*APPLY, objects=objects)
    if done.returncode:
        raise RuntimeError(done.stderr)


def job_of(place: Place, number: int) -> dict[str, Any]:
    """The training of a run as tunery renders it, the runs of low priority first."""
    priority = list(PRIORITIES)[number * len(PRIORITIES) // RUNS]
    training = {"stage": "sft", "do_train": True, "dataset": "numbers", "template": "qwen", "output_dir": "saves/x"}
    values = {"name": "queued", "training": training, "resources": {"pool": "cpu", "priority": priority}}
    found = platform.load("kit", place.root / "platform")
    images = found.local.images if found.local else {}
    run = ClusterRun(f"queued-{number:010x}", RunSpec.model_validate(values), place.team, found, images)
    return gpu_stage(run, "train", f"{run.id}-t")


def workloads(place: Place) -> list[dict[str, Any]]:
    """Kueue's objects of a team's runs."""
    found: list[dict[str, Any]] = place.get("workloads")["items"]
    return found


def ended(place: Place) -> int:
    """How many of a team's runs have ended."""
    time.sleep(1.0)
    return sum("completionTime" in each["status"] for each in place.get("jobs")["items"])


def admitted(place: Place) -> Iterator[Admitted]:
    """What became of each of a team's runs."""
    ends = {each["metadata"]["uid"]: each["status"].get("succeeded") == 1 for each in place.get("jobs")["items"]}
    for each in workloads(place):
        reserved = next(c for c in each["status"]["conditions"] if c["type"] == "QuotaReserved")
        at = datetime.fromisoformat(reserved["lastTransitionTime"]).timestamp()
        owner = each["metadata"]["ownerReferences"][0]["uid"]
        yield Admitted(place.team, each["spec"]["priorityClassRef"]["name"], at, ends[owner])


def out_of_order(found: list[Admitted]) -> int:
    """How many runs came before one of higher priority."""
    latest = {name: max((each.at for each in found if each.priority == name), default=0.0) for name in PRIORITIES}
    return sum(
        any(each.at < latest[name] for name, value in PRIORITIES.items() if value > PRIORITIES[each.priority])
        for each in found
    )


def uneven(found: list[Admitted]) -> int:
    """By how many runs one team was ahead of the other, at most, while both had runs in the queue."""
    moments = sorted({each.at for each in found})
    last = min(max(each.at for each in found if each.team == team) for team in TEAMS)
    counts = [
        [sum(each.at <= moment for each in found if each.team == team) for team in TEAMS]
        for moment in moments
        if moment <= last
    ]
    return max(abs(one - other) for one, other in counts)


if __name__ == "__main__":
    sys.exit(main())
