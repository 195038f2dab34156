"""Real images without a Docker daemon: Debian's buildah, runc and registry, on stand-ins of the bases.

The bases themselves are in registries that a test cannot reach. A stand-in is a Debian made by debootstrap with the
base's name and tag, so that the same Dockerfile, line by line, is what is built.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from scripts.setup import ROOT, index

PROGRAMS = ("buildah", "runc", "debootstrap", "docker-registry")
INSTALL = f"apt-get install {' '.join(PROGRAMS)}"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
USER = 10001


def call(*command: str | Path) -> str:
    """A program's output; what it says on standard error is shown when it fails."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    assert done.returncode == 0, f"{command}:\n{done.stdout[-2000:]}{done.stderr[-6000:]}"
    return done.stdout


def debian(cache: Path) -> Path:
    """The root file system of the stand-ins, made once: a Debian with the Python and pip that the bases have."""
    root = cache / "bookworm"
    if not root.exists():
        partial = cache / "bookworm.partial"
        shutil.rmtree(partial, ignore_errors=True)
        cache.mkdir(parents=True, exist_ok=True)
        call("debootstrap", "--variant=minbase", "--include=python3,python3-pip,ca-certificates", "bookworm", partial)
        for name in ("python", "python3"):
            (partial / "usr/local/bin" / name).symlink_to("/usr/bin/python3.11")
        for folder in ("var/cache/apt/archives", "var/lib/apt/lists"):
            shutil.rmtree(partial / folder)
        partial.rename(root)
    return root


@contextmanager
def running_registry(folder: Path) -> Iterator[str]:
    """HOST:PORT of a registry whose storage is ``folder``."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{free.getsockname()[1]}"
    config = folder.with_suffix(".json")  # JSON is YAML
    settings = {"version": "0.1", "storage": {"filesystem": {"rootdirectory": str(folder)}}, "http": {"addr": host}}
    config.write_text(json.dumps(settings))
    with folder.with_suffix(".log").open("wb") as log:
        process = subprocess.Popen(["docker-registry", "serve", config], stdout=log, stderr=log)  # noqa: S607
    try:
        for _ in range(100):
            try:
                httpx.get(f"http://{host}/v2/").raise_for_status()
                break
            except httpx.HTTPError:
                time.sleep(0.05)
        yield host
    finally:
        process.kill()
        process.wait()


@dataclass(frozen=True)
class Workshop:
    """Where images are built and run; ``registry`` is HOST:PORT."""

    folder: Path
    registry: str

    def buildah(self, *arguments: str | Path) -> str:
        """Runs buildah with a storage of its own."""
        places = ("--root", self.folder / "storage", "--runroot", self.folder / "storage-run")
        return call("buildah", *places, *arguments)

    def push_base(self, root: Path, name: str, tag: str) -> None:
        """Pushes a root file system as a base image."""
        container = self.buildah("from", "scratch").strip()
        self.buildah("add", "--quiet", container, root, "/")
        path = "PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
        self.buildah("config", "--env", path, container)
        image = self.buildah("commit", "--quiet", container).strip()
        self.push(image, f"{name}:{tag}")
        self.buildah("rm", container)

    def push(self, image: str, name: str) -> str:
        """Pushes an image; returns its digest as buildah tells it."""
        digest = self.folder / "digest"
        target = f"docker://{self.registry}/{name}"
        self.buildah("push", "--quiet", "--tls-verify=false", "--digestfile", digest, image, target)
        return digest.read_text().strip()

    def build(self, name: str, context: Path, arguments: Sequence[str]) -> str:
        """Builds an image as Cloud Build does, with the same build arguments; returns its id."""
        given = [f"--build-arg={each}" for each in arguments]
        if configured := index().get("UV_DEFAULT_INDEX") or os.environ.get("UV_DEFAULT_INDEX"):
            given.append(f"--build-arg=PACKAGE_INDEX={configured}")
        if CERTIFICATES.is_file():
            given += ["--secret", f"id=ca,src={CERTIFICATES}"]
        isolation = ("--layers", "--isolation", "chroot", "--tls-verify=false", "--timestamp", "0")
        file = context / "images" / name / "Dockerfile"
        return self.buildah("build", "--quiet", *isolation, *given, "-f", file, context).strip().splitlines()[-1]

    def layers(self, repository: str, digest: str) -> dict[str, int]:
        """Digest -> bytes of an image's layers, as the registry has them."""
        kind = {"Accept": "application/vnd.oci.image.manifest.v1+json"}
        answer = httpx.get(f"http://{self.registry}/v2/{repository}/manifests/{digest}", headers=kind)
        return {each["digest"]: each["size"] for each in answer.json()["layers"]}

    @contextmanager
    def mounted(self, reference: str) -> Iterator[Path]:
        """The root file system of an image that is pulled from the registry by its digest."""
        container = self.buildah("from", "--quiet", "--pull-always", "--tls-verify=false", reference).strip()
        try:
            yield Path(self.buildah("mount", container).strip())
        finally:
            self.buildah("umount", container)
            self.buildah("rm", container)

    def run(self, root: Path, *command: str, environment: Sequence[str] = (), hub: Path | None = None) -> Any:
        """Runs a command as a pod would: by tini, as the image's user, on a root that cannot be written, no network."""
        bundle = self.folder / "bundle"
        bundle.mkdir(exist_ok=True)
        mounts = [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
            {
                "destination": "/scratch",
                "type": "tmpfs",
                "source": "tmpfs",
                "options": [f"uid={USER}", f"gid={USER}"],
            },
        ]
        if hub is not None:
            mounts.append({"destination": "/mnt", "type": "bind", "source": str(hub), "options": ["rbind", "ro"]})
        names = ["PATH=/opt/venv/bin:/usr/bin:/bin", "HOME=/scratch/home", "TUNERY_SCRATCH=/scratch", *environment]
        process = {
            "user": {"uid": USER, "gid": USER},
            "args": ["/usr/bin/tini", "--", *command],
            "env": names,
            "cwd": "/scratch",
            "capabilities": {},
            "noNewPrivileges": True,
        }
        kinds = [{"type": each} for each in ("pid", "mount", "ipc", "uts", "network")]
        config = {
            "ociVersion": "1.0.2",
            "process": process,
            "root": {"path": str(root), "readonly": True},
            "mounts": mounts,
            "linux": {"namespaces": kinds},
        }
        (bundle / "config.json").write_text(json.dumps(config))
        return subprocess.run(
            ["runc", "--root", self.folder / "runc", "run", "--bundle", bundle, f"tunery-{os.getpid()}"],  # noqa: S607
            capture_output=True,
            text=True,
        )


def copied_context(folder: Path) -> Path:
    """A copy of what images are made of, which a test may change."""
    for name in (".dockerignore", "README.md", "pyproject.toml", "configs/schemas/training.schema.json"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    for name in ("images", "requirements", "workloads"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    return folder
