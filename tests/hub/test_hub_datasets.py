"""Data sets: from Artifactory, from a directory, and from an object that is named by its digest."""

from __future__ import annotations

import hashlib

import pytest
from artifactory.server import FakeArtifactory

from workloads.errors import InputError, TuneryError, UnavailableError
from workloads.hub import open_datasets, open_hub
from workloads.hub.cache import cached, cached_copy
from workloads.hub.directory import DirectoryHub
from workloads.hub.importing import import_dataset
from workloads.hub.interface import ModelReference
from workloads.hub.object_datasets import ObjectDatasets
from workloads.storage import manifest
from workloads.storage.objects import DamagedError

ROWS = b'{"instruction": "Say 1.", "output": "It is 1."}\n'
FILES = {
    "README.md": b"---\nlicense: other\n---\n",
    "train.jsonl": ROWS,
    "data/test-00000-of-00001.parquet": b"PAR1" * 1000,
    "load.py": b"raise SystemExit",
    "images.zip": b"PK",
    ".gitattributes": b"*.parquet filter=lfs",
}
WANTED = {"README.md", "train.jsonl", "data/test-00000-of-00001.parquet"}


@pytest.fixture
def use(monkeypatch):
    """Makes a fake Artifactory the hub, with a token."""

    def used(server, token):
        monkeypatch.setenv("TUNERY_ARTIFACTORY_URL", server.url)
        monkeypatch.setenv("TUNERY_ARTIFACTORY_MODELS", "huggingface")
        monkeypatch.setenv("TUNERY_ARTIFACTORY_PUBLISHED", "published")
        monkeypatch.setenv("TUNERY_ARTIFACTORY_TOKEN", token)

    return used


@pytest.mark.parametrize("redirects", [False, True])
def test_a_branch_becomes_a_commit_whose_data_files_are_fetched_verified_and_cached(use, tmp_path, redirects):
    with FakeArtifactory(redirects=redirects) as server:
        use(server, server.token())
        commit = server.put_model("huggingface", "acme/rows", FILES, kind="datasets")
        server.put_model(
            "huggingface", "acme/rows", {"config.json": b"{}"}
        )  # a model of the same name is another thing
        hub = open_datasets()
        version = hub.resolve(ModelReference.parse("acme/rows@main"))
        assert version.revision == commit
        folder = cached(hub, version, tmp_path / "cache", kind="datasets")
        assert folder == tmp_path / "cache" / "datasets" / commit
        assert {entry.path for entry in manifest.read(folder).files} == WANTED
        assert manifest.damage(folder) == []
        before = len(server.requests)
        assert cached(hub, version, tmp_path / "cache", kind="datasets") == folder
        assert len(server.requests) == before
    assert cached_copy(commit, tmp_path / "cache", "datasets") == folder
    assert cached_copy(commit, tmp_path / "cache") is None


def test_what_is_absent_or_private_is_explained(use, make_folder):
    with FakeArtifactory() as server:
        server.put_model("huggingface", "acme/rows", FILES, kind="datasets")
        use(server, server.token())
        with pytest.raises(InputError, match=r"no data set 'acme/none'.*huggingface") as caught:
            open_datasets().resolve(ModelReference.parse("acme/none"))
        assert "token may read it" in caught.value.problems[0].fix
        with pytest.raises(InputError, match="no data set 'acme/rows@v9'"):
            open_datasets().resolve(ModelReference.parse("acme/rows@v9"))
        with pytest.raises(InputError, match="no model 'acme/rows'"):
            open_hub().resolve(ModelReference.parse("acme/rows"))
        with pytest.raises(InputError, match="client of Hugging Face"):
            import_dataset(open_datasets(), make_folder({"train.jsonl": ROWS}), "acme/rows")
        use(server, server.token(repositories=["published"]))
        with pytest.raises(UnavailableError) as refused:
            open_datasets().resolve(ModelReference.parse("acme/rows"))
        assert refused.value.problems[0].code == "permission"
        use(server, server.token(expires_in=-1))
        with pytest.raises(UnavailableError) as expired:
            open_datasets().resolve(ModelReference.parse("acme/rows"))
        assert expired.value.problems[0].code == "token"
    with FakeArtifactory(hidden=True) as server:
        server.put_model("huggingface", "acme/rows", FILES, kind="datasets")
        use(server, server.token(repositories=["published"]))
        with pytest.raises(TuneryError) as hidden:
            open_datasets().resolve(ModelReference.parse("acme/rows"))
        assert "token" in hidden.value.problems[0].fix


def test_in_a_directory_data_sets_have_versions_beside_the_models(make_folder, tmp_path):
    hub = open_datasets()
    files = {name: content for name, content in FILES.items() if name in WANTED}
    version = import_dataset(hub, make_folder(files), "acme/rows", aliases=("stable",))
    assert open_datasets().resolve(ModelReference.parse("acme/rows@stable")).revision == version.revision
    assert open_hub().models() == []
    folder = cached(hub, version, tmp_path / "cache", kind="datasets")
    assert (folder / "train.jsonl").read_bytes() == ROWS
    with pytest.raises(InputError, match="no data set 'acme/other'"):
        hub.resolve(ModelReference.parse("acme/other"))


@pytest.mark.parametrize("files", [{"README.md": b"#"}, {"train.jsonl": ROWS, "load.py": b"pass"}])
def test_a_folder_that_is_no_data_set_is_refused(make_folder, files, tmp_path):
    with pytest.raises(InputError):
        import_dataset(DirectoryHub(tmp_path / "data", "datasets"), make_folder(files), "rows")


def test_an_object_is_the_bytes_of_its_digest_or_nothing(tmp_path):
    (tmp_path / "bucket").mkdir()
    (tmp_path / "bucket" / "rows.jsonl").write_bytes(ROWS)
    url, sha256 = f"{tmp_path}/bucket/rows.jsonl", hashlib.sha256(ROWS).hexdigest()
    objects = ObjectDatasets()
    version = objects.resolve(url, sha256)
    folder = cached(objects, version, tmp_path / "cache", kind="datasets")
    assert (folder / "rows.jsonl").read_bytes() == ROWS
    assert cached_copy(sha256[:40], tmp_path / "cache", "datasets") == folder
    with pytest.raises(DamagedError):
        cached(objects, objects.resolve(url, "0" * 64), tmp_path / "cache", kind="datasets")
    assert cached_copy("0" * 40, tmp_path / "cache", "datasets") is None
    with pytest.raises(InputError, match="no such object"):
        objects.resolve(f"{tmp_path}/bucket/none.jsonl", sha256)
