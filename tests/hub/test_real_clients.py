"""The official clients and LLaMA-Factory itself through Artifactory, unchanged: HF_ENDPOINT and HF_TOKEN are all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from artifactory import FakeArtifactory, hostile

BIN = Path(sys.executable).parent
MODEL = {
    "config.json": b'{"model_type": "llama"}',
    "model-00001-of-00002.safetensors": bytes(range(256)) * 500,
    "model-00002-of-00002.safetensors": bytes(reversed(range(256))) * 300,
    "original/params.json": b"{}",
}
SNAPSHOT = """
import json, pathlib, sys
from huggingface_hub import snapshot_download
folder = pathlib.Path(snapshot_download(sys.argv[1]))
print(json.dumps([folder.name, {p.relative_to(folder).as_posix(): p.stat().st_size for p in folder.rglob("*.*")}]))
"""
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def artifactory() -> Iterator[FakeArtifactory]:
    with FakeArtifactory() as server:
        yield server


@pytest.fixture
def redirecting() -> Iterator[FakeArtifactory]:
    with FakeArtifactory(redirects=True) as server:
        yield server


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs a command as a person would who has set the two variables, with an empty cache."""

    def start(server: FakeArtifactory, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        kept = {name: value for name, value in os.environ.items() if "OFFLINE" not in name}
        own = {"HF_ENDPOINT": server.endpoint(), "HF_TOKEN": server.token(), "HF_HOME": str(tmp_path / "hf")}
        own |= {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "NO_PROXY": "127.0.0.1,localhost"}
        return subprocess.run(
            command, env=kept | own | variables, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
        )

    return start


def result(done: subprocess.CompletedProcess[str]) -> Any:
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def python(code: str) -> tuple[str, ...]:
    return sys.executable, "-c", code


def authorized(server: FakeArtifactory, host: str) -> set[bool]:
    """Whether the requests that arrived at a host carried a token."""
    return {"authorization" in request.headers for request in server.requests if request.host == host}


def test_a_snapshot_is_the_commit_that_the_branch_means(artifactory, run):
    commit = artifactory.put_model("huggingface", "org/name", MODEL)
    name, files = result(run(artifactory, *python(SNAPSHOT), "org/name"))
    assert (name, files) == (commit, {path: len(content) for path, content in MODEL.items()})
    assert authorized(artifactory, "artifactory") == {True}
    assert artifactory.bytes_sent >= sum(len(content) for content in MODEL.values())


def test_a_redirect_to_another_host_does_not_take_the_token_along(redirecting, run):
    redirecting.put_model("huggingface", "org/name", MODEL)
    _, files = result(run(redirecting, *python(SNAPSHOT), "org/name"))
    assert files == {path: len(content) for path, content in MODEL.items()}
    assert authorized(redirecting, "artifactory") == {True}
    assert authorized(redirecting, "storage") == {False}


def test_hf_download_brings_one_file_of_a_tag(artifactory, run, tmp_path):
    artifactory.put_model("huggingface", "org/name", {"config.json": b"old"}, "v1.0")
    artifactory.put_model("huggingface", "org/name", MODEL)
    command = (str(BIN / "hf"), "download", "org/name", "config.json", "--revision", "v1.0", "--local-dir", "out")
    done = run(artifactory, *command)
    assert (done.returncode, (tmp_path / "out" / "config.json").read_bytes()) == (0, b"old"), done.stderr


def test_what_is_not_there_is_told_apart(artifactory, run):
    """Clients go on without an optional file only when they know that it is the file that is missing."""
    artifactory.put_model("huggingface", "org/name", MODEL)
    code = """
import json
from huggingface_hub import hf_hub_download
def kind(*where, **options):
    try:
        hf_hub_download(*where, **options)
    except Exception as error:
        return type(error).__name__
missing = kind("org/name", "none.json"), kind("org/name", "config.json", revision="none")
print(json.dumps([*missing, kind("org/none", "config.json")]))
"""
    found = result(run(artifactory, *python(code)))
    assert found == ["RemoteEntryNotFoundError", "RevisionNotFoundError", "RepositoryNotFoundError"]


@pytest.mark.parametrize("header", ["X-Repo-Commit", "ETag"])
def test_a_proxy_that_drops_a_header_stops_the_client(artifactory, run, header):
    artifactory.put_model("huggingface", "org/name", MODEL)
    artifactory.hostile(hostile.without(header, "X-Linked-Etag"), path="/resolve/")
    done = run(artifactory, *python(SNAPSHOT), "org/name")
    assert done.returncode != 0
    assert "FileMetadataError" in done.stderr


def test_queries_that_local_repositories_refuse_are_not_made(artifactory, run):
    """Local repositories of Artifactory answer ``expand=`` with 404 (huggingface/huggingface_hub issue 2974)."""
    artifactory.put_model("huggingface", "org/name", MODEL)
    refusal = artifactory.hostile(
        hostile.status(404), path=r"/revision/[^?]*\?.*expand=|/models/[^/]*/[^/?]*\?.*expand="
    )
    assert result(run(artifactory, *python(SNAPSHOT), "org/name"))[1].keys() == MODEL.keys()
    assert refusal.hits == 0


def test_a_private_authority_is_named_by_a_variable(run):
    with FakeArtifactory(tls=True) as server:
        server.put_model("huggingface", "org/name", MODEL)
        assert "CERTIFICATE_VERIFY_FAILED" in run(server, *python(SNAPSHOT), "org/name").stderr
        trusted = run(server, *python(SNAPSHOT), "org/name", SSL_CERT_FILE=str(server.ca_file))
        assert result(trusted)[1].keys() == MODEL.keys()


def test_a_data_set_is_loaded(artifactory, run):
    rows = b'{"instruction": "Say 1.", "output": "It is 1."}\n{"instruction": "Say 2.", "output": "It is 2."}\n'
    artifactory.put_model("huggingface", "org/rows", {"train.jsonl": rows}, kind="datasets")
    code = """
import json
from datasets import load_dataset
print(json.dumps(load_dataset("org/rows", split="train")["output"][:]))
"""
    assert result(run(artifactory, *python(code))) == ["It is 1.", "It is 2."]


@pytest.mark.slow
@pytest.mark.training
def test_llamafactory_trains_a_model_that_it_names_by_its_hub_name(redirecting, run, built_tiny_model, tmp_path):
    redirecting.put_model("huggingface", "org/tiny", built_tiny_model)
    rows = [{"instruction": f"Say {n}.", "input": "", "output": f"It is {n}."} for n in range(8)]
    (tmp_path / "numbers.json").write_text(json.dumps(rows))
    (tmp_path / "dataset_info.json").write_text(json.dumps({"numbers": {"file_name": "numbers.json"}}))
    config = {
        "model_name_or_path": "org/tiny",
        "stage": "sft",
        "do_train": True,
        "finetuning_type": "lora",
        "dataset": "numbers",
        "dataset_dir": str(tmp_path),
        "template": "qwen",
        "cutoff_len": 64,
        "output_dir": str(tmp_path / "saves"),
        "max_steps": 2,
        "report_to": "none",
    }
    (tmp_path / "train.yaml").write_text(yaml.safe_dump(config))
    done = run(redirecting, str(BIN / "llamafactory-cli"), "train", str(tmp_path / "train.yaml"))
    assert done.returncode == 0, done.stdout + done.stderr
    state = json.loads((tmp_path / "saves" / "trainer_state.json").read_text())
    assert state["global_step"] == 2
    assert (tmp_path / "saves" / "adapter_model.safetensors").exists()
    assert authorized(redirecting, "artifactory") == {True}
    assert authorized(redirecting, "storage") == {False}
    tokens = {request.headers.get("authorization", "").removeprefix("Bearer ") for request in redirecting.requests}
    assert not any(token in done.stdout + done.stderr for token in tokens - {""})
