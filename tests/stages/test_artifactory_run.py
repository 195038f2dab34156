"""A run whose base model comes from Artifactory and whose result goes there, for real, in this process."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from artifactory.server import FakeArtifactory

from workloads.errors import InputError
from workloads.hub import open_hub
from workloads.hub.interface import ModelReference
from workloads.render.steps import STEPS
from workloads.runtime import RunPaths
from workloads.stages.context import RunContext
from workloads.stages.pod import BaseInStore
from workloads.stages.runner import planned, run_stage, run_stages
from workloads.stages.stored_run import StoredRun
from workloads.storage import manifest
from workloads.storage.object_directory import DirectoryStore
from workloads.storage.objects import DamagedError

pytestmark = pytest.mark.training


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeArtifactory]:
    """The Artifactory that is this process's hub; large files come from another host."""
    with FakeArtifactory(redirects=True) as server:
        monkeypatch.setenv("TUNERY_ARTIFACTORY_URL", server.url)
        monkeypatch.setenv("TUNERY_ARTIFACTORY_MODELS", "huggingface")
        monkeypatch.setenv("TUNERY_ARTIFACTORY_PUBLISHED", "published")
        monkeypatch.setenv("TUNERY_ARTIFACTORY_TOKEN", server.token("read annotate deploy delete"))
        yield server


def _run(paths: RunPaths) -> RunContext:
    context = RunContext.open(paths.root)
    run_stages(context, planned(context))
    return context


def test_a_base_model_is_fetched_once_and_the_result_is_published_and_trained_again(
    make_run: Callable[..., RunPaths], server: FakeArtifactory, built_tiny_model: Path, tmp_path: Path
) -> None:
    files = {path.name: path.read_bytes() for path in built_tiny_model.iterdir() if path.is_file()}
    commit = server.put_model("huggingface", "acme/tiny", {**files, "modeling_own.py": b"CODE = 1\n"})
    spec = {"base": {"model": "acme/tiny", "revision": "main"}, "publish": {"name": "team/numbers"}}
    context = _run(make_run({}, spec))
    assert context.record.base.revision == commit
    assert list(context.outputs("fetch")["code"]) == ["modeling_own.py"]
    assert manifest.read(context.base_model).commit == commit  # type: ignore[union-attr]

    hub = open_hub()
    version = hub.resolve(ModelReference.parse("team/numbers@candidate"))
    assert [problem for problem in hub.verify(version) if not problem.is_warning] == []
    lineage = json.loads(server.files("published")["team/numbers/v1/lineage.json"])
    assert lineage["base"]["revision"] == commit
    assert lineage["base"]["digest"] == context.outputs("fetch")["digest"]
    assert list(lineage["base"]["code"]) == ["modeling_own.py"]
    assert server.properties("published", "team/numbers/v1/config.json")["tunery.run"] == [context.record.id]

    weights = [each for each in server.requests if "resolve" in each.path and "safetensors" in each.path]
    assert sum(each.method == "GET" for each in weights) == 1

    # What was published is a base model like any other: LLaMA-Factory trains it again.
    again = {"name": "again", "base": {"model": "team/numbers@candidate"}}
    second = _run(make_run({"max_steps": 2}, again))
    assert second.record.base.revision == version.revision
    assert second.outputs("train")["steps"] == 2


def test_weights_in_pickle_files_need_the_specs_word(
    make_run: Callable[..., RunPaths], server: FakeArtifactory
) -> None:
    server.put_model("huggingface", "acme/old", {"config.json": b"{}", "pytorch_model.bin": b"pickle"})
    paths = make_run({}, {"base": {"model": "acme/old"}})
    with pytest.raises(InputError, match=r"base\.allow_pickle"):
        run_stages(RunContext.open(paths.root), ["fetch"])
    paths = make_run({}, {"name": "allowed", "base": {"model": "acme/old", "allow_pickle": True}})
    run_stages(RunContext.open(paths.root), ["fetch"])
    assert (RunContext.open(paths.root).base_model / "pytorch_model.bin").read_bytes() == b"pickle"


def test_a_commit_in_the_models_store_must_be_what_was_fetched(
    make_run: Callable[..., RunPaths], server: FakeArtifactory, tmp_path: Path
) -> None:
    files = {"config.json": b'{"model_type": "llama"}', "model.safetensors": b"weights"}
    commit = server.put_model("huggingface", "acme/base", files)
    paths = make_run({}, {"base": {"model": "acme/base"}, "export": {"merge": False}})
    models = DirectoryStore(tmp_path / "models")
    cache = tmp_path / "pod"
    stored = StoredRun(paths.root.name, DirectoryStore(tmp_path / "store"), models, paths.root.name, paths, cache)
    context = replace(RunContext.open(paths.root), base_folder=cache / "models" / commit)
    run_stage(context, "fetch", BaseInStore(stored))
    assert context.outputs("fetch")["digest"] == stored.base_manifest(commit).digest  # type: ignore[union-attr]
    stored.bring(STEPS["serve"], context)
    assert (context.base_model / "model.safetensors").read_bytes() == b"weights"
    assert BaseInStore(stored).intact(context)

    (tmp_path / "evil").mkdir()
    (tmp_path / "evil" / "config.json").write_bytes(b"{}")
    other = replace(manifest.scan(tmp_path / "evil"), commit=commit)
    models.write(f"{commit}/config.json", b"{}")
    models.write(f"{commit}/{manifest.MANIFEST_NAME}", json.dumps(other.as_dict()).encode())
    with pytest.raises(DamagedError, match="not the one of its name"):
        stored.bring(STEPS["serve"], context)
