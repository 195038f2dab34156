"""A team of its own on a real cluster: namespace, accounts, queue, folders, and ``tunery`` as its people run it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infra import contract
from infra.objects import access, queues
from infra.settings import Environment
from infra.settings_loader import load_all

Kubectl = Callable[..., "subprocess.CompletedProcess[str]"]
ROOT = Path(__file__).parents[2]
APPLY = ("apply", "--server-side", "--force-conflicts", "--validate=strict", "-f", "-")
SHELL_IMAGE = os.environ.get("TUNERY_CLUSTER_SHELL_IMAGE", "kit.local/busybox:1")
TRAINER_IMAGE = os.environ.get("TUNERY_CLUSTER_TRAINER_IMAGE")
"""An image with tunery; without one, pods get this machine's environment at its own paths."""
TWO_PODS = ("per_device_train_batch_size=8",)
"""What makes the demo learn the same from two pods as from one."""
_BARE_IMAGE = "kit.local/hostroot:1"
_QUEUE_API = "kueue.x-k8s.io/v1beta2"
_VERB_SECONDS = 180.0
_DISCOVERY_SECONDS = 90.0
"""The controller manager looks for kinds that are new every 30 s."""


def run_kubectl(
    *arguments: str, objects: list[dict[str, Any]] | None = None, text: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs kubectl; ``objects`` or ``text`` go to its input."""
    if objects is not None:
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
    return subprocess.run(
        [shutil.which("kubectl") or "kubectl", *arguments],
        input=text,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def count(kubectl: Kubectl, objects: list[dict[str, Any]]) -> None:
    """Waits until the ResourceQuotas among ``objects``, which are there, count all that they name.

    A quota that is older than the controller manager's knowledge of a kind is next looked at up to five minutes
    later, and until then no object of that kind can be made: "status unknown for quota". A new quota is looked at at
    once, so it is made anew until its kinds are known.
    """
    end = time.monotonic() + _DISCOVERY_SECONDS
    quotas = [each for each in objects if each["kind"] == "ResourceQuota"]
    while uncounted := [each for each in quotas if not _counts(kubectl, each["metadata"], each["spec"]["hard"])]:
        assert time.monotonic() < end, f"not counted: {uncounted}"
        time.sleep(2)
        kubectl("delete", "-f", "-", "--ignore-not-found", objects=uncounted)
        done = kubectl(*APPLY, objects=uncounted)
        assert done.returncode == 0, done.stderr


def _counts(kubectl: Kubectl, meta: dict[str, str], hard: dict[str, str], seconds: float = 2.0) -> bool:
    end = time.monotonic() + seconds
    while True:
        done = kubectl("get", "resourcequota", meta["name"], "-n", meta["namespace"], "-o", "jsonpath={.status.used}")
        if set(hard) <= set(json.loads(done.stdout or "{}")):
            return True
        if time.monotonic() > end:
            return False
        time.sleep(0.2)


@dataclass
class Place:
    """A local environment named ``kit`` and its folders, which pods see at the same paths."""

    root: Path
    team: str
    environment: Environment
    kubectl: Kubectl
    environ: dict[str, str] = field(default_factory=dict)

    @property
    def namespace(self) -> str:
        return f"team-{self.team}"

    @property
    def store(self) -> Path:
        """Where the team's run directories are."""
        return self.root / "store" / self.team

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """A verb as a process that goes on."""
        return subprocess.Popen(
            [str(Path(sys.executable).parent / "tunery"), *arguments],
            cwd=ROOT,
            env=self.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            umask=0,  # pods work as another user, and must be able to write into the run directories made here
        )

    def tunery(self, *arguments: str, code: int = 0, seconds: float = _VERB_SECONDS) -> str:
        """What a verb prints; its exit code must be ``code``."""
        with self.start(*arguments) as process:
            try:
                out, err = process.communicate(timeout=seconds)
            finally:
                process.kill()
        assert process.returncode == code, out + err + self.seen()
        return out if code == 0 else out + err

    def json(self, *arguments: str, seconds: float = _VERB_SECONDS) -> Any:
        """The same, as JSON."""
        return json.loads(self.tunery(*arguments, "--json", seconds=seconds))

    def send(self, spec: Path, *overrides: str) -> str:
        """Sends a spec and returns the run's id."""
        return str(self.json("run", str(spec), *overrides, "--on", "kit")["id"])

    def until(self, run: str, reached: Callable[[dict[str, Any]], bool], seconds: float = 90) -> dict[str, Any]:
        """The status of a run, once it is as it should be."""
        end = time.monotonic() + seconds
        while True:
            found: dict[str, Any] = self.json("status", run)
            if reached(found):
                return found
            assert time.monotonic() < end, json.dumps(found, indent=1) + self.seen()
            time.sleep(0.5)

    def get(self, *arguments: str) -> Any:
        """What ``kubectl get`` finds in the namespace."""
        done = self.kubectl("get", *arguments, "-n", self.namespace, "-o", "json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def seen(self) -> str:
        """What there is in the namespace, for a test that fails."""
        about = ("-n", self.namespace)
        pods = self.kubectl("get", "pods", *about, "-o", "name").stdout.split()
        logs = [each + "\n" + self.kubectl("logs", each, *about, "-c", "main", "--tail=30").stdout for each in pods]
        return "\n".join([self.kubectl("get", "workflows,jobsets,jobs,workloads,pods", *about).stdout, *logs])

    def restore(self) -> None:
        """Creates the team's objects, and whatever of them is missing."""
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace}}
        objects = [namespace, *access.objects(self.environment), *queue(self.team)]
        done = self.kubectl(*APPLY, objects=objects)
        assert done.returncode == 0, done.stderr


def state(found: dict[str, Any], stage: str) -> str:
    """The state of a stage in what ``tunery status --json`` says."""
    return str(next(each["state"] for each in found["stages"] if each["name"] == stage))


def ended(found: dict[str, Any]) -> bool:
    """Whether a run has ended."""
    return found["state"] in ("finished", "failed", "stopped")


def queue(team: str, cpus: str = "16", memory: str = "64Gi") -> list[dict[str, Any]]:
    """The queue of the pool ``cpu``: all that asks for CPU and memory, on any node."""
    quota = [{"name": "cpu", "nominalQuota": cpus}, {"name": "memory", "nominalQuota": memory}]
    group = {"coveredResources": ["cpu", "memory"], "flavors": [{"name": "kit-any", "resources": quota}]}
    whole = {"namespaceSelector": {}, "resourceGroups": [group], "queueingStrategy": queues.STRATEGY}
    local = {"name": "cpu", "namespace": f"team-{team}"}
    name = f"team-{team}-cpu"
    return [
        {"apiVersion": _QUEUE_API, "kind": "WorkloadPriorityClass", "metadata": {"name": "normal"}, "value": 0},
        {"apiVersion": _QUEUE_API, "kind": "ResourceFlavor", "metadata": {"name": "kit-any"}},
        {"apiVersion": _QUEUE_API, "kind": "ClusterQueue", "metadata": {"name": name}, "spec": whole},
        {
            "apiVersion": _QUEUE_API,
            "kind": "LocalQueue",
            "metadata": local,
            "spec": {"clusterQueue": name},
        },
    ]


def own_environment(team: str) -> Environment:
    """An environment like dev with one team that no other test uses."""
    dev = next(each for each in load_all(ROOT / "configs" / "environments") if each.name == "dev")
    alone = dev.teams["research"].model_copy(update={"gpus": 0})
    return dev.model_copy(update={"name": "kit", "teams": {team: alone}})


def real_stages(root: Path) -> dict[str, Any]:
    """The contract's ``local`` for pods that run the real stages, with the hub in a folder."""
    writable = [{"path": str(root), "read_only": False}]
    user = os.getuid() or None
    environment = {"TUNERY_HUB": str(root / "hub"), "OMP_NUM_THREADS": "1"}
    shared = {"store": str(root / "store"), "user": user, "environment": environment}
    names = ("stager", "trainer", "server")
    if TRAINER_IMAGE:
        return {**shared, "images": dict.fromkeys(names, TRAINER_IMAGE), "mounts": writable}
    folders = {ROOT, Path(sys.prefix), Path(sys.base_prefix), Path("/usr")}
    alone = sorted(each for each in folders if not any(each.is_relative_to(other) for other in folders - {each}))
    return {
        **shared,
        "python": sys.executable,
        "images": dict.fromkeys(names, _BARE_IMAGE),
        "mounts": [*writable, *({"path": str(each)} for each in alone)],
    }


def demo_spec(place: Place, name: str = "demo", **more: Any) -> Path:
    """The demo's run spec under a name of its own, to be trained by two pods."""
    import yaml

    folder = ROOT / "configs" / "runs"
    spec = yaml.safe_load((folder / "demo.yaml").read_text())
    spec["training"] = str(folder / spec["training"])
    spec["evaluation"]["questions"]["file"] = str(folder / spec["evaluation"]["questions"]["file"])
    spec["gate"]["baseline"] = str(folder / spec["gate"]["baseline"])
    path = place.root / f"{name}.json"
    path.write_text(json.dumps(spec | {"name": name, "resources": {"pool": "cpu", "nodes": 2}} | more))
    return path


@contextmanager
def opened(kubectl: Kubectl, team: str, local: Callable[[Path], dict[str, Any]]) -> Iterator[Place]:
    """Makes a team with its folders, and takes all of it away.

    Args:
        local: the contract's ``local``, given the folder that pods share with this machine.
    """
    # Pods work as another user, which cannot enter pytest's own folders.
    root = Path(f"/var/tmp/tunery-cluster-{team}-{os.getpid()}")  # noqa: S108
    root.mkdir(mode=0o755)
    for name in ("store", f"store/{team}", "store/models", "hub"):
        (root / name).mkdir()
        (root / name).chmod(0o777)
    environment = own_environment(team)
    (root / "platform").mkdir()
    values = contract.contract(environment) | {"local": local(root)}
    (root / "platform" / "kit.json").write_text(json.dumps(values))
    environ = {
        **os.environ,
        "TUNERY_PLATFORM": str(root / "platform"),
        "TUNERY_RUNS": str(root / "runs"),
        "TUNERY_HUB": str(root / "hub"),
        "TUNERY_CACHE": str(root / "cache"),
    }
    place = Place(root, team, environment, kubectl, environ)
    try:
        place.restore()
        yield place
    finally:
        kubectl("delete", "namespace", place.namespace, "--timeout=90s")  # the next may use its name
        kubectl("delete", "clusterqueue", f"{place.namespace}-cpu", "--wait=false")
        shutil.rmtree(root, ignore_errors=True)
