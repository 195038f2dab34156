"""The build file of images, executed: nothing is locked unless all images are built, tested, scanned and whole."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from ci.services import FakeGitHub, github, registry
from cloud_build.execution import Result, Trigger, execute
from cloud_build.schema import load

LOCK = "configs/images.lock.json"
NAMES = {"stager": "stager", "trainer": "llama-factory", "server": "server", "board": "board"}
STEPS = ["inputs", "arguments", "stager", "trainer", "server", "board", "test", "scan", "release", "lock"]
COMMIT = "c" * 40


class Service:
    """Cloud Build for the images of a copy of this repository."""

    def __init__(self, repository: Path, folder: Path, host: str, hosted: FakeGitHub) -> None:
        self.workspace, self.pushed = folder / "workspace", folder / "registry"
        self.registry, self.github, self.folder = f"{host}/llm/gke-llm", hosted, folder
        for name in ("images", "scripts", "workloads", "configs"):
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(repository / name, self.workspace / name, ignore=ignored)
        (folder / "home").mkdir()
        lock = json.loads((self.workspace / LOCK).read_text())
        for base in lock["bases"].values():
            base["digest"] = f"sha256:{'b' * 64}"
        for image in lock["images"].values():
            image["digest"] = None
        (self.workspace / LOCK).write_text(json.dumps(lock, indent=2) + "\n")
        hosted.files["main"][LOCK] = (self.workspace / LOCK).read_bytes()
        self.builds = 0

    def build(self, severity: str = "HIGH", until: str = "lock", **local: str) -> Result:
        """Executes the build file, up to a step."""
        self.builds += 1
        own = {
            "PROJECT_ID": "example",
            "BUILD_ID": f"build-{self.builds}",
            "COMMIT_SHA": COMMIT,
            "BRANCH_NAME": "main",
            "REPO_FULL_NAME": "example/llm",
        }
        environment = {
            "HOME": str(self.folder / "home"),
            "LOCAL_REGISTRY": str(self.pushed),
            "LOCAL_PYTHON": sys.executable,
            "LOCAL_POD": json.dumps({"TUNERY_REPOSITORY_API": self.github.url, "NO_COLOR": "1"}),
            **local,
        }
        secrets = {"projects/example/secrets/tunery-dev-repository-token/versions/latest": self.github.token}
        given = {"_ENVIRONMENT": "dev", "_REGISTRY": self.registry, "_SEVERITY": severity}
        build = load(self.workspace / "images" / "cloudbuild.yaml")
        build = build.model_copy(update={"steps": build.steps[: STEPS.index(until) + 1]})
        return execute(build, self.workspace, Trigger(own, given, secrets, environment))

    def tags(self) -> dict[str, list[str]]:
        """Repository -> its tags, of those that have any."""
        folders = sorted((self.pushed / self.registry).glob("*/tags"))
        return {folder.parent.name: sorted(tag.name for tag in folder.iterdir()) for folder in folders}


@pytest.fixture
def service(repository: Path, tmp_path: Path) -> Iterator[Service]:
    with registry(tmp_path / "registry") as host, github({COMMIT}, {}) as hosted:
        yield Service(repository, tmp_path, host, hosted)


def test_all_images_are_locked_by_a_pull_request(service: Service) -> None:
    result = service.build()
    assert (result.ran, result.code) == (STEPS, 0), result.output
    (pull,) = service.github.pulls
    assert pull["base"] == "main"
    locked = json.loads(service.github.files[pull["head"]][LOCK])["images"]
    for name, repository in NAMES.items():
        manifest = service.pushed / service.registry / repository / "manifests" / locked[name]["digest"]
        assert manifest.is_file()
        assert f"doctor: {service.registry}/{repository}@{locked[name]['digest']}" in result.output
    assert service.tags() == {repository: [f"{COMMIT}-build-1"] for repository in NAMES.values()}
    assert "https://github.example/pull/1" in result.output
    assert service.github.token not in result.output
    # Bases come by digest through the environment's proxy, and the board is the trainer of this very build.
    base = (service.workspace / ".build" / "stager.arguments").read_text()
    assert re.search(rf"^BASE={re.escape(service.registry)}-dockerhub/library/python@sha256:b{{64}}$", base, re.M)
    (layer,) = [
        content
        for path in (service.pushed / service.registry / "board" / "blobs").iterdir()
        if "TRAINER=" in (content := path.read_text())
    ]
    assert f"TRAINER={(service.workspace / '.build' / 'trainer').read_text().strip()}" in layer


@pytest.mark.parametrize(
    ("local", "severity", "stops"),
    [
        ({"LOCAL_FAILS": "server"}, "HIGH", "server"),
        ({"LOCAL_SICK": "llama-factory"}, "HIGH", "test"),
        ({"LOCAL_FINDS": "board=HIGH"}, "HIGH", "scan"),
        ({"LOCAL_TEARS": "board"}, "HIGH", "lock"),
    ],
)
def test_one_image_that_fails_locks_none(service: Service, local: dict[str, str], severity: str, stops: str) -> None:
    result = service.build(severity, **local)
    assert (result.ran[-1], result.code != 0) == (stops, True), result.output
    assert service.github.pulls == []
    assert set(service.github.files) == {"main"}
    if stops != "lock":
        assert service.tags() == {}


def test_what_is_below_the_threshold_passes(service: Service) -> None:
    assert service.build("CRITICAL", until="scan", LOCAL_FINDS="board=HIGH").code == 0


def test_the_same_images_are_proposed_once(service: Service) -> None:
    service.build()
    lock = service.github.files[service.github.pulls[0]["head"]][LOCK]
    again = service.build()
    assert (again.code, len(service.github.pulls)) == (0, 1)
    assert "locked already" in again.output
    assert (service.workspace / LOCK).read_bytes() == lock
    # The next build starts from the last image's cache, which it names by digest.
    assert service.tags()["stager"] == [f"{COMMIT}-build-1", f"{COMMIT}-build-2"]


def test_a_base_without_a_digest_stops_before_anything_is_built(service: Service) -> None:
    lock = json.loads((service.workspace / LOCK).read_text())
    lock["bases"]["cuda"]["digest"] = None
    (service.workspace / LOCK).write_text(json.dumps(lock))
    result = service.build()
    assert (result.ran[-1], result.code) == ("arguments", 64)
    assert "bases.cuda.digest" in result.output
    assert not service.pushed.exists()


@pytest.mark.parametrize("severity", ["", "SEVERE", "high"])
def test_a_severity_that_is_none(service: Service, severity: str) -> None:
    result = service.build(severity)
    assert (result.ran, result.code) == (["inputs"], 64)
    assert result.output.startswith("_SEVERITY: ")


def test_the_scripts_are_sound(repository: Path) -> None:
    """shellcheck is in Debian's packages."""
    found = shutil.which("shellcheck")
    if found is None:
        refuse = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        refuse("shellcheck is missing; fix: apt-get install shellcheck")
    command = [found, *map(str, sorted((repository / "scripts" / "cloudbuild").iterdir()))]
    subprocess.run(command, check=True)
