"""Pods that train from Cloud Storage, as an emulator plays it, over a connection that can be spoilt.

Every attempt is a new pod with an empty disk, since a node takes its disk along.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from benchmarks.faults.attempts import Attempt
from benchmarks.faults.clock import CLOCK
from benchmarks.faults.connection import Spoilt
from benchmarks.faults.gangs import free_port
from benchmarks.faults.playing import Fault, restarting
from benchmarks.faults.strikes import All, InStep
from benchmarks.faults.systems import TRAINING, System, write_data
from workloads.errors import ExitCode
from workloads.runtime import RunPaths

INSTALL = "go install github.com/fsouza/fake-gcs-server@latest"


@contextmanager
def emulator() -> Iterator[str | None]:
    """The address of an emulator of Cloud Storage; None when none is installed."""
    kit = Path(os.environ.get("KIT_HOME") or Path.home() / ".cache" / "one-node-kubernetes") / "bin"
    program = shutil.which("fake-gcs-server") or shutil.which("fake-gcs-server", path=str(kit))
    if program is None:
        yield None
        return
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [program, "-scheme", "http", "-host", "127.0.0.1", "-port", str(port), "-external-url", url]
    process = subprocess.Popen([*command, "-backend", "memory", "-log-level", "error"])
    try:
        for _ in range(500):
            try:
                httpx.get(f"{url}/storage/v1/b", timeout=1)
                break
            except httpx.TransportError:
                CLOCK.sleep(0.02)
        yield url
    finally:
        process.kill()
        process.wait()


@dataclass(frozen=True)
class Pod:
    """The train stage of a run that lies in a bucket of its own."""

    template: Path
    emulator: str
    run_id: str

    @property
    def name(self) -> str:
        return "tunery"

    @classmethod
    def prepare(cls, scratch: Path, model: Path, emulator: str) -> Pod:
        """Bundles a run and lets pods do what comes before its training, in a folder store."""
        from workloads.engines.bundle import make_bundle, upload
        from workloads.engines.create import plan
        from workloads.hub import open_hub
        from workloads.hub.importing import import_folder
        from workloads.run_spec_loader import load_run_spec
        from workloads.stages.pod import run_pod
        from workloads.storage.objects import open_store
        from workloads.training.signals import StopRequest

        import_folder(open_hub(), model, "tiny")
        data = scratch / "pod-data"
        write_data(data)
        training = TRAINING | {"model_name_or_path": "tiny", "dataset_dir": str(data), "output_dir": "saves/x"}
        (data / "run.yaml").write_text(json.dumps({"name": "faults", "training": training}))
        record = plan(load_run_spec(data / "run.yaml"))
        store = scratch / "store"
        bundle = RunPaths(scratch / "bundle" / record.id)
        make_bundle(record, bundle)
        upload(bundle, open_store(str(store)), record.id)
        for stage in ("fetch", "prepare"):
            place = scratch / f"pod-{stage}"
            environ = {"TUNERY_STORE": str(store), "TUNERY_MODELS_STORE": str(store / "models")}
            environ |= {"TUNERY_SCRATCH": str(place), "TUNERY_CACHE": str(place / "cache")}
            run_pod(stage, record.id, {**os.environ, **environ}, StopRequest())
        return cls(store, emulator, record.id)

    def begin(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        bucket = self._bucket(folder)
        httpx.post(f"{self.emulator}/storage/v1/b", json={"name": bucket}, timeout=30).raise_for_status()
        with httpx.Client(timeout=30) as client:
            for path in sorted(self.template.rglob("*")):
                if path.is_file():
                    self._put(client, bucket, path)

    def _put(self, client: httpx.Client, bucket: str, path: Path) -> None:
        from workloads.storage.manifest import sha256_file

        facts = {"name": path.relative_to(self.template).as_posix(), "metadata": {"sha256": sha256_file(path)}}
        parts = (
            f"--x\r\nContent-Type: application/json\r\n\r\n{json.dumps(facts)}\r\n"
            "--x\r\nContent-Type: application/octet-stream\r\n\r\n"
        ).encode() + path.read_bytes()
        client.post(
            f"{self.emulator}/upload/storage/v1/b/{bucket}/o",
            params={"uploadType": "multipart"},
            headers={"Content-Type": "multipart/related; boundary=x"},
            content=parts + b"\r\n--x--\r\n",
        ).raise_for_status()

    def work(self, folder: Path) -> int:
        from workloads.stages.pod import command
        from workloads.stages.runner import leave
        from workloads.training.signals import StopRequest

        scratch = folder / f"pod-{len(list(folder.glob('pod-*'))) + 1}"
        scratch.mkdir()
        bucket = self._bucket(folder)
        os.environ |= {
            "STORAGE_EMULATOR_HOST": self.emulator,
            "TUNERY_STORE": f"gs://{bucket}",
            "TUNERY_MODELS_STORE": f"gs://{bucket}/models",
            "TUNERY_SCRATCH": str(scratch),
            "TUNERY_CACHE": str(scratch / "cache"),
        }
        os.environ.setdefault("TUNERY_GRACE_SECONDS", "15")
        stop = StopRequest()
        stop.install()
        leave(command(["train", self.run_id], os.environ, stop))

    def checkpoints(self, folder: Path) -> Path:
        return folder

    def result(self, folder: Path) -> Path | None:
        marker = self._read(folder, f"{self.run_id}/stages/train.json")
        weights = self._read(folder, f"{self.run_id}/trained/adapter_model.safetensors")
        if marker is None or weights is None:
            return None
        path = folder / "trained.safetensors"
        path.write_bytes(weights)
        return path

    def restarts(self, code: int | None) -> bool:
        return code not in (ExitCode.OK, ExitCode.INPUT)

    def damage(self, folder: Path, name: str) -> None:
        """Halves an object of the newest checkpoint, as a store that lies about what it keeps."""
        key = f"{self.run_id}/checkpoints/checkpoint-8/{name}"
        content = self._read(folder, key)
        if content is None:
            raise RuntimeError(f"there is no object {key}")
        url = f"{self.emulator}/upload/storage/v1/b/{self._bucket(folder)}/o"
        httpx.post(url, params={"uploadType": "media", "name": key}, content=content[: len(content) // 2], timeout=30)

    def _read(self, folder: Path, key: str) -> bytes | None:
        url = f"{self.emulator}/storage/v1/b/{self._bucket(folder)}/o/{quote(key, safe='')}"
        answer = httpx.get(url, params={"alt": "media"}, timeout=30)
        return answer.content if answer.status_code == 200 else None

    def _bucket(self, folder: Path) -> str:
        return f"bucket-{folder.parent.name}-{folder.name}".lower()


def lose_disk(output: Path) -> None:
    """What plain llamafactory-cli wrote is gone with the node; a pod of tunery always begins with an empty disk."""
    if output.name == "out":
        shutil.rmtree(output, ignore_errors=True)


def _damage_stored(system: System, folder: Path, fault: Fault) -> list[Attempt]:
    if not isinstance(system, Pod):
        raise TypeError("only a pod has a store")
    damaged = replace(fault, play=None, damage=lambda _: system.damage(folder, "optimizer.pt"))
    return restarting(system, folder, damaged)


_KILL = signal.SIGKILL
_UPLOAD = r"^(POST|PUT) .*checkpoints/checkpoint-8/"
_DOWNLOAD = r"^GET .*/o/.*checkpoints/checkpoint-8/(optimizer|adapter_model).*alt=media"
_RESULT = r"^(POST|PUT) .*/trained/"
_GONE = "the node and its disk are gone"
_ALWAYS = 1_000_000

NODES = [
    Fault(_GONE, "in a step", "SIGKILL in step 10", [InStep(10, _KILL, late=0.5)], kind="node", damage=lose_disk),
    Fault(f"SIGTERM, then {_GONE}", "in a step", "step 7", [InStep(7, signal.SIGTERM)], kind="node", damage=lose_disk),
]


def _stored(what: str, when: str, how: str, *strikes: Any, losses: int = 1) -> Fault:
    return Fault(what, when, how, strikes, kind="pod", losses=losses)


STORES = [
    _stored(
        "SIGKILL and the node gone", "in an upload", "third request of checkpoint-8", Spoilt(_UPLOAD, "SIGKILL", skip=2)
    ),
    _stored(
        "SIGTERM and the node gone", "in an upload", "third request of checkpoint-8", Spoilt(_UPLOAD, "SIGTERM", skip=2)
    ),
    _stored(
        "SIGKILL and the node gone", "in the upload of the result", "second request", Spoilt(_RESULT, "SIGKILL", skip=1)
    ),
    _stored(
        "SIGTERM and the node gone", "in the upload of the result", "second request", Spoilt(_RESULT, "SIGTERM", skip=1)
    ),
    _stored("the store answers 503", "as the pod begins", "the first six requests", Spoilt("", "503", times=6)),
    _stored("the store answers 503", "in an upload", "six requests of checkpoint-8", Spoilt(_UPLOAD, "503", times=6)),
    _stored(
        "the store answers 503 for ever",
        "in an upload",
        "every request of checkpoint-8",
        Spoilt(_UPLOAD, "503", times=_ALWAYS),
    ),
    _stored(
        "the store answers 503 for ever, then the node is gone",
        "in an upload, in a step",
        "every request of checkpoint-8; SIGKILL in step 11",
        All((Spoilt(_UPLOAD, "503", times=_ALWAYS), InStep(11, _KILL))),
        losses=2,
    ),
    _stored(
        "the store is away for eleven minutes",
        "in the upload of the result",
        "every request of it answers 503 until the pod gives up",
        Spoilt(_RESULT, "503", times=_ALWAYS),
    ),
    _stored(
        "the store stalls",
        "in an upload",
        "three requests of checkpoint-8 get no answer",
        Spoilt(_UPLOAD, "stall", times=3),
    ),
    _stored(
        "an answer is lost",
        "in an upload",
        "three requests of checkpoint-8, which the store obeys",
        Spoilt(_UPLOAD, "lost", times=3),
    ),
    _stored(
        "a download is cut off",
        "in a resume on another node",
        "half of two answers, after SIGKILL in step 10",
        InStep(10, _KILL, late=0.5),
        Spoilt(_DOWNLOAD, "cut", times=2),
    ),
    _stored(
        "a download has a flipped bit",
        "in a resume on another node",
        "in one answer, after SIGKILL in step 10",
        InStep(10, _KILL, late=0.5),
        Spoilt(_DOWNLOAD, "flip"),
        losses=2,
    ),
    _stored(
        "the store stalls",
        "in a resume on another node",
        "two downloads get no answer, after SIGKILL in step 10",
        InStep(10, _KILL, late=0.5),
        Spoilt(_DOWNLOAD, "stall", times=2),
    ),
    replace(
        _stored(
            "the newest stored checkpoint is truncated",
            "before a resume on another node",
            "half of its optimizer, after SIGKILL in step 9",
            InStep(9, _KILL, late=0.5),
            losses=2,
        ),
        play=_damage_stored,
    ),
]
