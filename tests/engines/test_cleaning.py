"""Cleaning on a disk: what is listed goes only on request, and never while somebody works on it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from filelock import FileLock

from workloads import platform
from workloads.cli.main import main
from workloads.engines import cluster_client as k8s
from workloads.engines.cleaning import on_environment, on_this_machine, remove, remove_objects
from workloads.engines.cluster_client import Cluster, Kind
from workloads.engines.cluster_errors import RefusedError
from workloads.errors import Problem
from workloads.runtime import RunPaths
from workloads.storage import manifest

DAY = 86400.0
RUN = "chat-0a1b2c3d4e"


def _finished(folder: Path, run: str = RUN) -> RunPaths:
    """A run of long ago that trained, and published nothing."""
    paths = RunPaths(folder / run)
    for place in (paths.trained, paths.checkpoints / "checkpoint-4", paths.export, paths.data):
        place.mkdir(parents=True)
        (place / "model.safetensors").write_bytes(b"weights")
        manifest.commit(place)
    paths.record.write_text(json.dumps({"id": run, "name": "chat", "created": "2026-01-01", "spec": {}}))
    paths.events.write_text('{"time": 1, "event": "run_finished"}\n')
    for stage in ("fetch", "prepare", "train", "evaluate", "export"):
        paths.marker(stage).parent.mkdir(exist_ok=True)
        paths.marker(stage).write_text("{}")
    for path in paths.root.rglob("*"):
        os.utime(path, (time.time() - 60 * DAY,) * 2)
    return paths


def _here(folder: Path) -> Any:
    return on_this_machine(folder, now=time.time(), older_than=30 * DAY)


def test_a_finished_run_loses_scratch_and_keeps_its_result(tmp_path: Path) -> None:
    paths = _finished(tmp_path)
    found = _here(tmp_path)
    assert [each.path for each in found.leftovers] == [f"{RUN}/checkpoints", f"{RUN}/data"]
    assert paths.checkpoints.is_dir()  # nothing has gone by being listed
    removed, count = remove(found)
    assert (len(removed), count) == (2, 4)
    assert not paths.checkpoints.exists()
    assert not paths.data.exists()
    assert manifest.damage(paths.trained) == manifest.damage(paths.export) == []
    assert _here(tmp_path).leftovers == ()


def test_a_run_that_is_worked_on_is_left_alone_also_when_it_began_meanwhile(tmp_path: Path) -> None:
    paths = _finished(tmp_path)
    with FileLock(paths.lock):
        assert _here(tmp_path).leftovers == ()
    found = _here(tmp_path)
    with FileLock(paths.lock):
        assert remove(found) == ([], 0)
    assert manifest.damage(paths.checkpoints / "checkpoint-4") == []


def test_looking_at_a_run_does_not_make_it_young(tmp_path: Path) -> None:
    _finished(tmp_path)
    assert _here(tmp_path).leftovers == _here(tmp_path).leftovers != ()


def test_a_result_that_is_not_whole_keeps_the_checkpoints(tmp_path: Path) -> None:
    paths = _finished(tmp_path)
    (paths.trained / "model.safetensors").unlink()
    assert f"{RUN}/checkpoints" not in [each.path for each in _here(tmp_path).leftovers]


def test_a_record_that_cannot_be_read_keeps_everything(tmp_path: Path) -> None:
    paths = _finished(tmp_path)
    paths.record.write_text("{")
    os.utime(paths.record, (1, 1))
    assert _here(tmp_path).leftovers == ()


class Namespace:
    """A team's namespace with these workflows and templates."""

    def __init__(self, **objects: list[dict[str, Any]]) -> None:
        self.objects = objects
        self.deleted: list[tuple[str, str]] = []

    def each(self, kind: Kind, namespace: str, labels: str, *, metadata_only: bool) -> Iterator[dict[str, Any]]:
        assert (namespace, labels, metadata_only) == ("team-research", "tunery.dev/run", True)
        return iter(self.objects.get(kind.plural, []))

    def delete(self, kind: Kind, namespace: str, name: str, *, uid: str) -> None:
        self.deleted.append((kind.plural, f"{name} {uid}"))


def _workflow(run: str, **labels: str) -> dict[str, Any]:
    return {
        "metadata": {
            "name": run,
            "uid": "u1",
            "creationTimestamp": "2020-01-01T00:00:00Z",
            "labels": {"tunery.dev/run": run, **labels},
        }
    }


@pytest.fixture
def contract(tmp_path: Path, repository: Path) -> platform.Platform:
    found = platform.load("prod", repository / "configs" / "platform")
    return found.model_copy(update={"local": platform.LocalCluster(store=str(tmp_path / "store"))})


def test_a_team_is_cleaned_in_its_store_and_its_namespace(contract: platform.Platform) -> None:
    store = Path(contract.store("research"))
    paths = _finished(store)
    _finished(store, "chat-ffffffffff")
    done = {"workflows.argoproj.io/completed": "true"}
    namespace = Namespace(workflows=[_workflow(RUN, **done), _workflow("chat-ffffffffff")])
    cluster = cast(Cluster, namespace)
    found = on_environment(cluster, contract, "research", now=time.time(), older_than=30 * DAY)
    assert {each.run for each in found.leftovers} == {RUN}
    namespace.objects["workflows"][0] = _workflow(RUN)  # somebody tries it again
    assert remove(found) == ([], 0)
    assert paths.checkpoints.is_dir()
    remove_objects(cluster, "team-research", found.objects)
    assert namespace.deleted == [(k8s.WORKFLOW.plural, f"{RUN} u1")]


def test_without_knowing_what_is_active_nothing_is_listed(contract: platform.Platform) -> None:
    class Refusing(Namespace):
        def each(self, *_: Any, **__: Any) -> Iterator[dict[str, Any]]:
            raise RefusedError(Problem("You may not list workflows.", "ask"), 403, "Forbidden")

    with pytest.raises(RefusedError):
        on_environment(cast(Cluster, Refusing()), contract, "research", now=time.time(), older_than=DAY)


def test_the_verb_lists_first_and_removes_on_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TUNERY_RUNS", str(tmp_path))
    paths = _finished(tmp_path)

    def clean(*arguments: str) -> Any:
        with pytest.raises(SystemExit) as stop:
            main(["clean", "--json", *arguments])
        return stop.value.code, json.loads(capsys.readouterr().out)

    code, listed = clean()
    assert (code, listed["deleted"], listed["removed"]) == (0, False, [])
    assert [each["path"] for each in listed["leftovers"]] == [f"{RUN}/checkpoints", f"{RUN}/data"]
    assert clean("--older-than", "90d")[1]["leftovers"] == []
    assert clean("--older-than", "soon")[0] == 64
    assert paths.checkpoints.is_dir()
    assert clean("--delete")[1]["removed"] == [f"{RUN}/checkpoints", f"{RUN}/data"]
    assert not paths.checkpoints.exists()
