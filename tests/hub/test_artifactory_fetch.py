from __future__ import annotations

import os
import re
from types import SimpleNamespace

import pytest
from artifactory.server import FakeArtifactory

from workloads.errors import InputError, UnavailableError
from workloads.hub import download, hub_environment, open_hub, pieces, use_hub_of
from workloads.hub.artifactory import ArtifactoryHub
from workloads.hub.artifactory_huggingface import needed
from workloads.hub.cache import cached, cached_copy
from workloads.hub.interface import ModelReference
from workloads.storage import manifest

WEIGHTS = os.urandom(300_000)
FILES = {
    "config.json": b'{"model_type": "llama"}',
    "model.safetensors": WEIGHTS,
    "pytorch_model.bin": b"a pickle",
    "modeling_own.py": b"print('code')",
    "sub/tokenizer.json": b"{}",
    ".gitattributes": b"hidden",
}
WANTED = {"config.json", "model.safetensors", "modeling_own.py", "sub/tokenizer.json"}
NAME = "acme/base"


@pytest.fixture
def commit(artifactory):
    return artifactory.put_model("huggingface", NAME, FILES)


def resolved(hub, text=f"{NAME}@main"):
    return hub.resolve(ModelReference.parse(text))


def content(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def downloads(server, path="model.safetensors"):
    return [each for each in server.requests if each.method == "GET" and "/resolve/" in each.path and path in each.path]


@pytest.mark.parametrize("redirects", [False, True])
def test_a_branch_becomes_a_commit_and_its_files_arrive(open_artifactory, tmp_path, redirects):
    with FakeArtifactory(redirects=redirects) as server:
        commit = server.put_model("huggingface", NAME, FILES)
        hub = open_artifactory(server)
        version = resolved(hub)
        moved = []
        found = hub.fetch(version, tmp_path / "m", moved.append)
        assert (version.revision, version.commit, version.version) == (commit, commit, commit)
        assert {entry.path for entry in found.files} == WANTED
        assert found.revision == commit == manifest.read(tmp_path / "m").revision
        assert manifest.damage(tmp_path / "m") == []
        assert (tmp_path / "m" / "model.safetensors").read_bytes() == WEIGHTS
        assert sum(moved) == version.size
        assert hub.manifest(version) == found
        assert hub.verify(version) == []
        assert all("authorization" not in each.headers for each in server.requests if each.host == "storage")
        assert any(each.host == "storage" for each in server.requests) == redirects


def test_a_name_alone_is_the_main_branch_and_a_commit_stays_itself(artifactory, commit, open_artifactory):
    hub = open_artifactory(artifactory)
    newer = artifactory.put_model("huggingface", NAME, {**FILES, "config.json": b"{}"})
    assert resolved(hub, NAME).revision == newer
    assert resolved(hub, f"{NAME}@{commit}").revision == commit


def test_one_file_is_read_and_verified(artifactory, commit, open_artifactory):
    hub = open_artifactory(artifactory)
    version = resolved(hub)
    assert hub.read(version, "config.json") == FILES["config.json"]
    assert hub.read(version, "absent.json") is None
    assert downloads(artifactory) == []


def test_an_unknown_model_is_the_users_mistake(artifactory, open_artifactory):
    with pytest.raises(InputError, match=r"no model 'acme/other@v1'.*huggingface nor in published"):
        resolved(open_artifactory(artifactory), "acme/other@v1")


def test_the_cache_holds_a_commit_and_asks_nobody_again(artifactory, commit, open_artifactory, tmp_path):
    hub = open_artifactory(artifactory)
    folder = cached(hub, resolved(hub), tmp_path / "cache")
    later = (folder / manifest.MANIFEST_NAME).stat().st_mtime_ns + 50_000_000
    os.utime(folder / manifest.MANIFEST_NAME, ns=(later, later))
    asked = len(artifactory.requests)
    assert cached_copy(commit, tmp_path / "cache") == folder
    assert len(artifactory.requests) == asked
    assert cached_copy("0" * 40, tmp_path / "cache") is None


def test_processes_that_want_one_model_bring_it_once(artifactory, commit, open_artifactory, at_once, tmp_path):
    hub = open_artifactory(artifactory)
    version, token = resolved(hub), artifactory.token()

    def want():
        own = open_artifactory(artifactory, token)
        cached(own, version, tmp_path / "cache")

    at_once(*[want] * 4)
    assert len(downloads(artifactory)) == 1


def test_an_interrupted_download_goes_on_where_it_broke_off(artifactory, commit, open_artifactory, tmp_path):
    hub = open_artifactory(artifactory)
    version = resolved(hub)
    sha256 = next(file.sha256 for file in hub.manifest(version).files if file.path == "model.safetensors")
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / f".model.safetensors.{sha256[:8]}.partial").write_bytes(WEIGHTS[:200_000])
    hub.fetch(version, tmp_path / "m")
    (asked,) = downloads(artifactory)
    assert asked.headers["range"] == "bytes=200000-299999"
    assert asked.headers["if-range"] == f'"{sha256}"'
    assert asked.sent == 100_000
    assert (tmp_path / "m" / "model.safetensors").read_bytes() == WEIGHTS


@pytest.mark.parametrize("left", [b"other bytes" * 1000, WEIGHTS + b"more"])
def test_what_is_left_of_something_else_is_replaced(artifactory, commit, open_artifactory, tmp_path, left):
    hub = open_artifactory(artifactory)
    version = resolved(hub)
    sha256 = next(file.sha256 for file in hub.manifest(version).files if file.path == "model.safetensors")
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / f".model.safetensors.{sha256[:8]}.partial").write_bytes(left)
    hub.fetch(version, tmp_path / "m")
    assert (tmp_path / "m" / "model.safetensors").read_bytes() == WEIGHTS


def test_a_second_fetch_into_the_folder_brings_only_what_is_damaged(artifactory, commit, open_artifactory, tmp_path):
    hub = open_artifactory(artifactory)
    version = resolved(hub)
    hub.fetch(version, tmp_path / "m")
    damaged = tmp_path / "m" / "config.json"
    damaged.chmod(0o644)
    damaged.write_bytes(b"x" * len(FILES["config.json"]))
    before = len(downloads(artifactory))
    hub.fetch(version, tmp_path / "m")
    assert damaged.read_bytes() == FILES["config.json"]
    assert len(downloads(artifactory)) == before


def test_a_large_file_comes_in_pieces_over_several_connections(
    artifactory, commit, open_artifactory, tmp_path, monkeypatch
):
    monkeypatch.setattr(pieces, "PIECE", 16_384)
    monkeypatch.setattr(download, "PIECE", 16_384)
    monkeypatch.setattr(download, "_LARGE", 100_000)
    hub = open_artifactory(artifactory)
    hub.fetch(resolved(hub), tmp_path / "m")
    assert (tmp_path / "m" / "model.safetensors").read_bytes() == WEIGHTS
    asked = [tuple(map(int, re.findall(r"\d+", each.headers["range"]))) for each in downloads(artifactory)]
    assert len(asked) == 19
    assert sum(stop - start + 1 for start, stop in asked) == len(WEIGHTS)


def test_a_folder_with_other_files_is_refused(artifactory, commit, open_artifactory, tmp_path):
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "mine.txt").write_text("mine")
    hub = open_artifactory(artifactory)
    with pytest.raises(InputError, match=r"mine\.txt"):
        hub.fetch(resolved(hub), tmp_path / "m")


def test_a_full_disk_is_told_before_anything_is_downloaded(
    artifactory, commit, open_artifactory, tmp_path, monkeypatch
):
    hub = open_artifactory(artifactory)
    version = resolved(hub)
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(UnavailableError, match="The disk is too small"):
        hub.fetch(version, tmp_path / "m")
    assert downloads(artifactory, "") == []


def test_pickle_weights_need_the_users_word(artifactory, open_artifactory, tmp_path):
    artifactory.put_model("huggingface", "acme/old", {"config.json": b"{}", "pytorch_model.bin": b"pickle"})
    hub = open_artifactory(artifactory)
    version = resolved(hub, "acme/old")
    with pytest.raises(InputError, match=r"pickle files.*pytorch_model\.bin.*base\.allow_pickle"):
        hub.fetch(version, tmp_path / "m")
    assert downloads(artifactory, "") == []
    allowed = open_artifactory(artifactory, allow_pickle=True)
    assert len(allowed.fetch(version, tmp_path / "m").files) == 2


def test_of_many_forms_of_weights_the_safetensors_are_taken():
    names = [
        "model.safetensors",
        "consolidated.safetensors",
        "model.onnx",
        "tf_model.h5",
        "x.gguf",
        "a.pt",
        "README.md",
    ]
    assert needed(names) == ["README.md", "model.safetensors"]
    assert needed(["consolidated.safetensors", "params.json"]) == ["consolidated.safetensors", "params.json"]
    assert needed(["pytorch_model.bin", "training_args.bin"]) == ["pytorch_model.bin"]


def test_a_description_without_digests_is_completed_by_asking_for_each_file(artifactory, open_artifactory, tmp_path):
    artifactory.put_model("huggingface", NAME, FILES)
    artifactory.hostile(_without_details, path="/api/models/")
    hub = open_artifactory(artifactory)
    hub.fetch(resolved(hub), tmp_path / "m")
    assert set(content(tmp_path / "m")) == WANTED | {manifest.MANIFEST_NAME}
    assert sum(each.method == "HEAD" for each in artifactory.requests) == len(WANTED)


def _without_details(request, answer):
    import json
    from dataclasses import replace

    from artifactory.wire import Content

    reply = answer()
    value = json.loads(reply.content.read())
    value["siblings"] = [{"rfilename": each["rfilename"]} for each in value["siblings"]]
    return replace(reply, content=Content.of(json.dumps(value).encode()))


def test_the_hub_is_the_one_that_the_environment_names(tmp_path):
    named = {"TUNERY_ARTIFACTORY_URL": "https://a.example/artifactory/", "TUNERY_ARTIFACTORY_MODELS": "m"}
    opened = open_hub(named)
    assert isinstance(opened, ArtifactoryHub)
    assert opened.url == "https://a.example/artifactory"
    with pytest.raises(InputError, match="TUNERY_ARTIFACTORY_PUBLISHED"):
        open_hub({"TUNERY_ARTIFACTORY_URL": "https://a.example"})


def test_an_environments_hub_is_taken_unless_another_is_named(repository):
    from workloads.platform import load

    platform = load("dev", repository / "configs" / "platform")
    taken: dict[str, str] = {}
    use_hub_of(platform, taken)
    assert taken == hub_environment(platform)
    assert taken["TUNERY_ARTIFACTORY_URL"] == platform.artifactory.url
    named = {"TUNERY_HUB": "mine"}
    use_hub_of(platform, named)
    assert named == {"TUNERY_HUB": "mine"}
