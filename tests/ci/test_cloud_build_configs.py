"""The build files of configs, executed: from a push or a pull request to the objects that the API server has."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ci.conftest import LLAMA_8B
from cloud_build.execution import Result, Trigger, execute
from cloud_build.schema import load
from cloud_build.substitution import SubstitutionError
from engines.conftest import write_kubeconfig
from engines.test_cluster_engine import complete

ONE = "configs/runs/one.yaml"
REGISTRY = "registry.example/llm/gke-llm"
DIGEST = f"sha256:{'a' * 64}"
FILES = ("configs/cloudbuild.yaml", "configs/cloudbuild.checks.yaml")


class Service:
    """Cloud Build for one repository: clones what is pushed without its history, and executes a build file of it."""

    def __init__(self, project: Any, folder: Path, api: Any) -> None:
        self.project, self.folder = project, folder
        (folder / "home").mkdir(parents=True)
        manifests = folder / "registry" / REGISTRY / "stager" / "manifests"
        manifests.mkdir(parents=True)
        (manifests / DIGEST).write_text("{}")
        pod = {
            "KUBECONFIG": str(write_kubeconfig(folder / "kubeconfig", api.url)),
            "TUNERY_HUB": os.environ["TUNERY_HUB"],
            "NO_COLOR": "1",
        }
        self.environment = {
            "HOME": str(folder / "home"),
            "LOCAL_REGISTRY": str(folder / "registry"),
            "LOCAL_PYTHON": sys.executable,
            "LOCAL_POD": json.dumps(pod),
        }
        self.builds = 0

    def run(self, file: str, branch: str, **given: str) -> Result:
        self.builds += 1
        workspace = self.folder / f"workspace-{self.builds}"
        clone = ["git", "clone", "-q", "--depth=1", "-b", branch, f"file://{self.project.root}", str(workspace)]
        subprocess.run(clone, check=True)
        own = {
            "PROJECT_ID": "example",
            "BUILD_ID": f"build-{self.builds}",
            "COMMIT_SHA": self.project.git("rev-parse", branch),
            "BRANCH_NAME": branch,
        }
        if "checks" in file:
            own |= {"_BASE_BRANCH": "main", "_HEAD_BRANCH": branch, "_PR_NUMBER": "7"}
        secrets = {"projects/example/secrets/tunery-kit-artifactory-token/versions/latest": "a-token"}
        trigger = Trigger(own, given, secrets, self.environment)
        return execute(load(workspace / file), workspace, trigger)

    def push(self) -> Result:
        return self.run("configs/cloudbuild.yaml", "main", _ENVIRONMENT="kit", _REGISTRY=REGISTRY)

    def propose(self, branch: str) -> Result:
        return self.run("configs/cloudbuild.checks.yaml", branch, _ENVIRONMENT="prod")


@pytest.fixture
def service(project: Any, tiny_in_hub: None, api: Any, repository: Path, tmp_path: Path) -> Service:
    """The service, for the project with this repository's build files, scripts and tunery."""
    for name in ("workloads", "scripts/cloudbuild", "configs/schemas"):
        shutil.copytree(repository / name, project.root / name, ignore=shutil.ignore_patterns("__pycache__"))
    (project.root / "requirements").mkdir()
    for name in (*FILES, "requirements/stager.txt"):
        shutil.copy(repository / name, project.root / name)
    lock = {"images": {"trainer": {"digest": None}, "stager": {"repository": "stager", "digest": DIGEST}}}
    project.write("configs/images.lock.json", json.dumps(lock, indent=2))
    project.write("configs/models/tiny/config.json", json.dumps(LLAMA_8B))
    project.commit("with the build's own files")
    complete(api)
    return Service(project, tmp_path / "service", api)


def workflows(api: Any) -> list[str]:
    return sorted(path.rpartition("/")[2] for path in api.objects if "/workflows/" in path)


def test_a_push_sends_what_changed_once(service: Service, api: Any, project: Any) -> None:
    project.edit(ONE, resources={"max_hours": 2})
    project.commit()
    first = service.push()
    assert (first.ran, first.code) == (["inputs", "history", "submit"], 0), first.output
    assert f"{ONE}: started, one-" in first.output
    (run,) = workflows(api)
    again = service.push()
    assert (again.code, workflows(api)) == (0, [run])
    assert "no run changed for kit" in again.output
    assert "a-token" not in first.output + again.output


def test_a_push_with_a_mistake_fails_with_it(service: Service, api: Any, project: Any) -> None:
    project.edit(ONE, teem=1)
    project.commit()
    result = service.push()
    assert result.code == 64
    assert "configs/runs/one.yaml:9:teem: 'teem' is not a key of a run spec here." in result.output
    assert workflows(api) == []


def test_a_push_before_any_image_was_built_says_so(service: Service, project: Any) -> None:
    project.write("configs/images.lock.json", json.dumps({"images": {"stager": {"digest": None}}}))
    project.commit()
    result = service.push()
    assert result.code == 64
    assert "has no digest yet" in result.output


@pytest.mark.parametrize(
    ("edit", "code", "words"),
    [
        ({"resources": {"max_hours": 10, "pool": "l4x1"}}, 0, "1 run would start, nothing stands against it"),
        (
            {"team": "support", "resources": {"nodes": 8, "pool": "l4x1", "max_hours": 720, "capacity": "on-demand"}},
            64,
            "| `configs/runs/one.yaml` | 9 | `resources.max_hours` | On environment prod: The run may cost",
        ),
        ({"teem": 1}, 64, "| `configs/runs/one.yaml` | 9 | `teem` |"),
    ],
)
def test_a_pull_request_is_answered_in_markdown(
    service: Service, project: Any, edit: dict[str, Any], code: int, words: str
) -> None:
    project.git("checkout", "-q", "-b", "topic")
    project.edit(ONE, **edit)
    project.commit()
    project.git("checkout", "-q", "main")
    project.edit("configs/runs/two.yaml", resources={"max_hours": 1})
    project.commit("main goes on, which is not the topic's doing")
    result = service.propose("topic")
    assert (result.ran, result.code) == (["inputs", "history", "packages", "plan"], code), result.output
    assert words in result.output
    assert "configs/runs/two.yaml" not in result.output


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"_ENVIRONMENT": "kit", "_REGISTRY": REGISTRY, "_ENVIROMENT": "x"}, r"uses none of \['_ENVIROMENT'\]"),
        ({"_ENVIRONMENT": "kit"}, r"nobody gives \['_REGISTRY'\]"),
    ],
)
def test_an_unknown_or_missing_substitution_is_refused(service: Service, given: dict[str, str], words: str) -> None:
    with pytest.raises(SubstitutionError, match=words):
        service.run("configs/cloudbuild.yaml", "main", **given)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("_ENVIRONMENT", ""),
        ("_ENVIRONMENT", "Kit;true"),
        ("_REGISTRY", ""),
        ("_REGISTRY", "x y/z"),
        ("_REGISTRY", "a\nb/c"),
    ],
)
def test_the_first_step_refuses_what_cloud_build_lets_pass(service: Service, name: str, value: str) -> None:
    given = {"_ENVIRONMENT": "kit", "_REGISTRY": REGISTRY, name: value}
    build = load(service.project.root / "configs/cloudbuild.yaml")
    workspace = service.project.root
    names = {key: each for key, each in given.items() if key in ("_ENVIRONMENT", "_REGISTRY")}
    command = ["sh", *build.steps[0].args]
    done = subprocess.run(
        command, cwd=workspace, env={"PATH": os.environ["PATH"], **names}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 64
    assert done.stderr.startswith(f"{name}: ")
    assert "fix: infra/parts/builds.py" in done.stderr
