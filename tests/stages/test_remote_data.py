"""Data sets that a run brings from Artifactory or from an object, on one machine and pod by pod."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from artifactory.server import FakeArtifactory

from workloads.engines.bundle import make_bundle, upload
from workloads.engines.create import create, plan
from workloads.errors import InputError
from workloads.hub.provenance import statement
from workloads.run_record import RunRecord
from workloads.run_spec_loader import load_run_spec
from workloads.runtime import RunPaths, runs_dir
from workloads.stages import publish
from workloads.stages.context import RunContext
from workloads.stages.patience import Patience
from workloads.stages.pod import run_pod
from workloads.stages.runner import run_stages
from workloads.storage import manifest
from workloads.storage.objects import open_store
from workloads.training.signals import StopRequest

pytestmark = pytest.mark.training

README = """---
configs:
- config_name: chat
  data_files:
  - {split: train, path: chat/a.jsonl}
  - {split: held_out, path: chat/b.jsonl}
- config_name: other
  data_files: other.jsonl
---
"""
CHAT = {"hf_hub_url": "acme/rows", "subset": "chat", "split": "held_out", "num_samples": 8}
MakeSpec = Callable[..., Path]


def lines(start: int, count: int = 8, **more: Any) -> bytes:
    rows = [
        {"instruction": f"Say {n}: \u00e4.", "input": "", "output": f"It is {n}."} for n in range(start, start + count)
    ]
    return "".join(json.dumps({**row, **more}) + "\n" for row in rows).encode()


FILES = {
    "README.md": README.encode(),
    "chat/a.jsonl": lines(100),
    "chat/b.jsonl": lines(200),
    "other.jsonl": lines(300, extra=1),
}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeArtifactory]:
    """The Artifactory that is this process's hub, with a data set that only some tokens may read."""
    with FakeArtifactory(redirects=True) as server:
        monkeypatch.setenv("TUNERY_ARTIFACTORY_URL", server.url)
        monkeypatch.setenv("TUNERY_ARTIFACTORY_MODELS", "huggingface")
        monkeypatch.setenv("TUNERY_ARTIFACTORY_TOKEN", server.token())
        server.put_model("huggingface", "acme/rows", FILES, kind="datasets")
        yield server


@pytest.fixture
def make_spec(make_run: Callable[..., RunPaths], tmp_path: Path) -> MakeSpec:
    """A run spec whose training reads ``numbers``, a file here, and ``remote``, with this entry."""

    def make(entry: dict[str, Any], config: dict[str, Any] | None = None, **spec: Any) -> Path:
        make_run()
        project = tmp_path / "project"
        info = {"numbers": {"file_name": "numbers.json"}, "remote": entry}
        (project / "dataset_info.json").write_text(json.dumps(info))
        values = json.loads((project / "run.yaml").read_text())
        values["training"] |= {"dataset": "numbers,remote", **(config or {})}
        (project / "run.yaml").write_text(json.dumps(values | spec))
        return project / "run.yaml"

    return make


def prepared(context: RunContext) -> list[dict[str, Any]]:
    """The rows of the remote data set, as LLaMA-Factory gets them."""
    entry = json.loads((context.paths.data / "dataset_info.json").read_text())["remote"]
    assert not entry.keys() & {"hf_hub_url", "cloud_file_name", "subset", "split"}
    return [json.loads(line) for line in (context.paths.data / entry["file_name"]).read_text().splitlines()]


def test_a_subset_and_split_are_what_the_official_client_reads(
    server: FakeArtifactory, make_spec: MakeSpec, tmp_path: Path
) -> None:
    record = plan(load_run_spec(make_spec(CHAT)))
    (remote,) = record.remote_datasets
    assert (remote.name, remote.source) == ("remote", "acme/rows")
    context = RunContext.open(create(record, runs_dir()).root)
    run_stages(context, ["fetch", "prepare"])
    assert context.outputs("prepare")["rows"]["train"] + context.outputs("prepare")["rows"]["validation"] == 72
    code = """
import json
from datasets import load_dataset
print(json.dumps(list(load_dataset("acme/rows", "chat", split="held_out"))))
"""
    kept = {name: value for name, value in os.environ.items() if "OFFLINE" not in name}
    own = {"HF_ENDPOINT": server.endpoint(), "HF_TOKEN": server.token(), "HF_HOME": str(tmp_path / "hf")}
    own |= {"HF_HUB_DISABLE_XET": "1", "NO_PROXY": "127.0.0.1,localhost"}
    done = subprocess.run([sys.executable, "-c", code], env=kept | own, capture_output=True, text=True, check=True)
    assert prepared(context) == json.loads(done.stdout.splitlines()[-1])


def test_a_branch_that_moves_is_another_run_and_a_run_keeps_its_commit(
    server: FakeArtifactory, make_spec: MakeSpec
) -> None:
    spec = make_spec(CHAT)
    first = plan(load_run_spec(spec))
    assert plan(load_run_spec(spec)).id == first.id
    pinned = make_spec(CHAT, data={"remote": {"revision": first.remote_datasets[0].revision}})
    changed = {**FILES, "chat/b.jsonl": lines(900)}
    commit = server.put_model("huggingface", "acme/rows", changed, kind="datasets")
    assert plan(load_run_spec(pinned)).remote_datasets == first.remote_datasets
    second = plan(load_run_spec(make_spec(CHAT)))
    assert second.remote_datasets[0].revision == commit
    assert second.id != first.id
    context = RunContext.open(create(first, runs_dir()).root)
    run_stages(context, ["fetch", "prepare"])
    assert prepared(context)[0]["output"] == "It is 200."


def test_what_the_hub_lacks_is_said_before_anything_runs(server: FakeArtifactory, make_spec: MakeSpec) -> None:
    with pytest.raises(InputError, match="no data set 'acme/none'") as caught:
        plan(load_run_spec(make_spec({"hf_hub_url": "acme/none"})))
    assert caught.value.problems[0].key == "remote"
    assert str(caught.value.problems[0].file).endswith("dataset_info.json")


def test_a_key_that_llamafactory_ignores_is_no_reason_to_refuse(server: FakeArtifactory, make_spec: MakeSpec) -> None:
    assert plan(load_run_spec(make_spec(CHAT | {"revision": "x"}))).remote_datasets


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"subset": "none"}, "none"),
        ({"split": "test"}, "test"),
        ({"columns": {"prompt": "question", "response": "output"}}, "No row has the column 'question'"),
    ],
)
def test_rows_that_cannot_be_trained_on_stop_the_preparation(
    server: FakeArtifactory, make_spec: MakeSpec, changes: dict[str, Any], message: str
) -> None:
    context = RunContext.open(create(plan(load_run_spec(make_spec(CHAT | changes))), runs_dir()).root)
    run_stages(context, ["fetch"])
    with pytest.raises(InputError, match=message):
        run_stages(context, ["prepare"])


def test_an_object_is_brought_by_its_digest(
    make_spec: MakeSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bucket" / "folder").mkdir(parents=True)
    (tmp_path / "bucket" / "folder" / "rows.jsonl").write_bytes(lines(400))
    monkeypatch.setattr(
        "workloads.hub.object_datasets.open_store", lambda url: open_store(url.replace("gs:/", str(tmp_path)))
    )
    digest = hashlib.sha256(lines(400)).hexdigest()
    spec = make_spec({"cloud_file_name": "gs://bucket/folder/rows.jsonl"}, data={"remote": {"sha256": digest}})
    record = plan(load_run_spec(spec))
    assert record.remote_datasets[0].sha256 == digest
    context = RunContext.open(create(record, runs_dir()).root)
    run_stages(context, ["fetch", "prepare"])
    assert prepared(context)[0]["output"] == "It is 400."
    (tmp_path / "bucket" / "folder" / "rows.jsonl").unlink()
    run_stages(context, ["fetch"])  # the cache has it


def test_pods_bring_it_into_the_runs_own_folder(
    server: FakeArtifactory, make_spec: MakeSpec, tmp_path: Path, built_tiny_model: Path
) -> None:
    server.put_model("huggingface", "acme/tiny", built_tiny_model)
    record = plan(load_run_spec(make_spec(CHAT, {"model_name_or_path": "acme/tiny"})))
    bundle = RunPaths(tmp_path / "bundle" / record.id)
    make_bundle(record, bundle)
    assert RunRecord.read(bundle).remote_datasets == record.remote_datasets
    store = tmp_path / "store"
    assert upload(bundle, open_store(str(store)), record.id)
    for number, stage in enumerate(("fetch", "prepare", "fetch")):
        scratch = tmp_path / f"pod-{number}"
        environ = {
            "TUNERY_STORE": str(store),
            "TUNERY_MODELS_STORE": str(tmp_path / "models"),
            "TUNERY_SCRATCH": str(scratch),
            "TUNERY_CACHE": str(scratch / "cache"),
        }
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TUNERY_CACHE", environ["TUNERY_CACHE"])
            if stage == "prepare":  # it has no way to the hub, and needs none
                patch.delenv("TUNERY_ARTIFACTORY_URL")
            run_pod(stage, record.id, environ, StopRequest(), Patience(limit=0))
    run = store / record.id
    assert manifest.damage(run / "fetched") == []
    assert {path.name for path in (tmp_path / "models").iterdir()} == {record.base.revision}
    context = replace(RunContext.open(run), base_folder=built_tiny_model)
    assert prepared(context)[0]["output"] == "It is 200."


def test_where_it_came_from_is_recorded(
    server: FakeArtifactory, make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = RunContext.open(create(plan(load_run_spec(make_spec(CHAT))), runs_dir()).root)
    run_stages(context, ["fetch"])
    brought = context.outputs("fetch")["datasets"]["remote"]
    outputs = {"fetch": context.outputs("fetch")}
    for stage in ("prepare", "train", "evaluate"):
        outputs[stage] = {"digest": "0" * 64, "steps": 1, "before": {}, "after": {}}
    monkeypatch.setattr(RunContext, "outputs", lambda _, stage: outputs[stage])
    known = publish.lineage(context)
    expected = {"name": "remote", "source": "acme/rows", "revision": brought["revision"], "sha256": brought["digest"]}
    assert known["datasets"][1] == expected
    said = statement("team/x@v1", manifest.Manifest(()), known, "0" * 64)
    materials = said["predicate"]["buildDefinition"]["resolvedDependencies"]
    digests = {"sha256": brought["digest"], "gitCommit": brought["revision"]}
    assert {"uri": "dataset:acme/rows", "digest": digests} in materials
