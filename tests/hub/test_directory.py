from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from workloads.errors import InputError, TuneryError
from workloads.hub import directory, open_hub
from workloads.hub.directory import DirectoryHub
from workloads.hub.interface import ModelReference
from workloads.storage import manifest

FILES = {"config.json": b"{}", "weights/a.safetensors": b"a" * 3000, "weights/b.safetensors": b"b" * 3000}


def reference(text: str) -> ModelReference:
    return ModelReference.parse(text)


def blobs(hub: DirectoryHub) -> list[Path]:
    return [path for path in (hub.root / "blobs").rglob("*") if path.is_file()]


def test_what_is_fetched_is_what_was_published(hub, make_folder, tmp_path):
    version = hub.publish(make_folder(FILES), "org/model", lineage={"seed": 7}, aliases=["candidate"])
    hub.fetch(version, tmp_path / "copy")
    assert {name: (tmp_path / "copy" / name).read_bytes() for name in FILES} == FILES
    assert manifest.damage(tmp_path / "copy") == []
    assert manifest.read(tmp_path / "copy").digest == version.digest
    assert hub.lineage(version) == {"seed": 7}
    assert (version.reference, version.aliases, version.size) == ("org/model@v1", ("candidate",), 6002)


def test_a_version_that_shares_files_writes_only_the_new_bytes(hub, make_folder):
    hub.publish(make_folder(FILES), "model", lineage={})
    before = {path: path.stat().st_mtime_ns for path in blobs(hub)}
    hub.publish(make_folder(FILES | {"config.json": b"[]"}), "other", lineage={})
    after = {path: path.stat().st_mtime_ns for path in blobs(hub)}
    assert before.items() <= after.items()
    assert [path.read_bytes() for path in after.keys() - before.keys()] == [b"[]"]


def test_the_same_bytes_give_the_version_that_exists(hub, make_folder):
    first = hub.publish(make_folder(FILES), "model", lineage={"seed": 1})
    hub.publish(make_folder({"config.json": b"1"}), "model", lineage={})
    again = hub.publish(make_folder(FILES), "model", lineage={"seed": 2}, aliases=["production"])
    assert (again.reference, again.created, again.aliases) == ("model@v1", first.created, ("production",))
    assert hub.lineage(again) == {"seed": 1}
    assert hub.resolve(reference("model")).version == "v2"
    assert len(hub.models()) == 2


def test_versions_name_their_parent_and_grow_older_even_when_the_clock_is_set_back(hub, make_folder, monkeypatch):
    real = directory._now()
    for number, year in enumerate((2030, 2020, 2010)):
        monkeypatch.setattr(directory, "_now", lambda year=year: real.replace(year=year))
        hub.publish(make_folder({"config.json": b"%d" % number}), "model", lineage={})
    assert [version.version for version in hub.models()] == ["v1", "v2", "v3"]
    record = json.loads((hub.root / "versions" / "model@v3.json").read_text())
    assert (record["parent"], record["created"][:4]) == ("v2", "2030")


def test_an_explicit_version_never_changes(hub, make_folder):
    hub.publish(make_folder(FILES), "model", lineage={}, version="v7")
    assert hub.publish(make_folder(FILES), "model", lineage={}, version="v7").version == "v7"
    before = blobs(hub)
    with pytest.raises(InputError, match="model@v7 exists with other content"):
        hub.publish(make_folder({"config.json": b"new"}), "model", lineage={}, version="v7")
    assert blobs(hub) == before
    assert hub.publish(make_folder({"config.json": b"new"}), "model", lineage={}).version == "v8"


def test_the_same_bytes_under_an_explicit_version_get_that_version_too(hub, make_folder):
    hub.publish(make_folder(FILES), "model", lineage={})
    hub.publish(make_folder(FILES), "model", lineage={}, version="release-1")
    assert {version.version: version.revision for version in hub.models()}.keys() == {"v1", "release-1"}
    assert hub.resolve(reference("model@release-1")).version == "release-1"


def test_versions_and_aliases_cannot_share_a_name(hub, make_folder):
    version = hub.publish(make_folder(FILES), "model", lineage={}, version="stable", aliases=["production"])
    with pytest.raises(InputError, match="'stable' is a version"):
        hub.promote(version, "stable")
    with pytest.raises(InputError, match="'production' is an alias"):
        hub.publish(make_folder({"a": b"a"}), "model", lineage={}, version="production")
    with pytest.raises(InputError, match="'v1' is not an alias"):
        hub.promote(version, "v1")


@pytest.mark.parametrize("version", ["", "../v1", "a/b", "a..b", "f" * 40, "v 1"])
def test_a_version_name_that_is_no_name_is_refused(hub, make_folder, version):
    with pytest.raises(InputError, match="is not a version name"):
        hub.publish(make_folder(FILES), "model", lineage={}, version=version)


@pytest.mark.parametrize("name", ["../model", "a/b/c", "model@v1", "", "a/../b", "/model"])
def test_a_name_that_is_no_name_is_refused(hub, make_folder, name):
    with pytest.raises(InputError):
        hub.publish(make_folder(FILES), name, lineage={})
    assert not hub.root.exists()


def test_a_model_and_an_organisation_may_have_the_same_name(hub, make_folder):
    for number, name in enumerate(["a", "a/versions", "a.json/b", "a/a"]):
        hub.publish(make_folder({"config.json": b"%d" % number}), name, lineage={}, aliases=["production"])
    assert [version.reference for version in hub.models()] == ["a@v1", "a.json/b@v1", "a/a@v1", "a/versions@v1"]


def test_a_selector_is_a_version_an_alias_or_a_revision(hub, make_folder):
    first = hub.publish(make_folder(FILES), "model", lineage={}, aliases=["production"])
    second = hub.publish(make_folder({"config.json": b"2"}), "model", lineage={})
    for selector in ("v1", "production", first.revision):
        assert hub.resolve(reference(f"model@{selector}")).version == "v1"
    assert hub.resolve(reference("model")) == second


def test_an_unknown_name_or_selector_gets_a_suggestion(hub, make_folder):
    hub.publish(make_folder(FILES), "org/model", lineage={}, aliases=["production"])
    with pytest.raises(InputError) as unknown:
        hub.resolve(reference("org/modle"))
    assert unknown.value.problems[0].suggestion == "org/model"
    with pytest.raises(InputError) as unknown:
        hub.resolve(reference("org/model@prodution"))
    assert unknown.value.problems[0].suggestion == "production"
    assert "v1, production" in unknown.value.problems[0].fix


def test_a_hub_that_does_not_exist_yet_is_empty(hub):
    assert hub.models() == []
    with pytest.raises(InputError, match="The hub has no models, 'model' neither"):
        hub.resolve(reference("model"))
    assert not hub.root.exists()


def test_promotions_are_recorded_and_pointing_again_is_not_one(hub, make_folder):
    first = hub.publish(make_folder(FILES), "model", lineage={}, aliases=["production"])
    second = hub.publish(make_folder({"config.json": b"2"}), "model", lineage={})
    assert hub.promote(second, "production").aliases == ("production",)
    assert hub.promote(second, "production").aliases == ("production",)
    assert hub.resolve(reference("model@v1")).aliases == ()
    hub.promote(first, "production")
    lines = [json.loads(line) for line in (hub.root / "promotions.jsonl").read_text().splitlines()]
    assert [(line["from"], line["to"]) for line in lines] == [(None, "v1"), ("v1", "v2"), ("v2", "v1")]
    assert all(line["by"] and re.match(r"20\d\d-.*\+00:00$", line["at"]) for line in lines)


def test_everything_a_version_consists_of_is_read_only(hub, make_folder, tmp_path):
    version = hub.publish(make_folder(FILES), "model", lineage={})
    hub.fetch(version, tmp_path / "copy")
    files = [*blobs(hub), hub.root / "versions" / "model@v1.json", *(tmp_path / "copy" / name for name in FILES)]
    assert {path.stat().st_mode & 0o777 for path in files} == {0o444}


def test_hidden_files_and_folders_are_left_out(hub, make_folder):
    clutter = {".git/config": b"x", ".cache/a/b": b"x", ".gitattributes": b"x", "weights/.DS_Store": b"x"}
    version = hub.publish(make_folder(FILES | clutter), "model", lineage={})
    assert {entry.path for entry in hub.manifest(version).files} == FILES.keys()


def test_links_and_special_files_are_refused_all_at_once(hub, make_folder, tmp_path):
    folder = make_folder(FILES)
    (folder / "passwords").symlink_to("/etc/passwd")
    (folder / "outside").symlink_to(tmp_path, target_is_directory=True)
    os.mkfifo(folder / "pipe")
    (folder / "back\\slash").write_bytes(b"x")
    (folder / "new\nline").write_bytes(b"x")
    with pytest.raises(InputError) as refused:
        hub.publish(folder, "model", lineage={})
    assert len(refused.value.problems) == 5
    assert hub.models() == []


def test_a_folder_that_is_not_what_its_manifest_records_is_refused(hub, make_folder):
    folder = make_folder(FILES)
    manifest.commit(folder)
    (folder / "config.json").write_bytes(b"[]")
    with pytest.raises(InputError, match=r"not what its manifest records: config.json"):
        hub.publish(folder, "model", lineage={})


@pytest.mark.parametrize("files", [{}, {".hidden": b"x"}])
def test_a_folder_without_files_is_refused(hub, make_folder, files):
    with pytest.raises(InputError, match="The folder has no files"):
        hub.publish(make_folder(files), "model", lineage={})


def test_progress_counts_every_byte_once_whether_new_or_shared(hub, make_folder, tmp_path):
    moved: list[int] = []
    version = hub.publish(make_folder(FILES), "model", lineage={}, on_bytes=moved.append)
    assert sum(moved) == version.size
    moved.clear()
    hub.publish(make_folder(FILES), "other", lineage={}, on_bytes=moved.append)
    assert sum(moved) == version.size
    for action in (
        lambda: hub.fetch(version, tmp_path / "copy", moved.append),
        lambda: hub.verify(version, moved.append),
    ):
        moved.clear()
        action()
        assert sum(moved) == version.size


def test_a_fetch_into_a_folder_with_other_files_is_refused(hub, make_folder):
    version = hub.publish(make_folder(FILES), "model", lineage={})
    folder = make_folder({"config.json": b"{}", "pytorch_model.bin": b"x"})
    with pytest.raises(InputError, match=r"files that model@v1 has not: pytorch_model\.bin"):
        hub.fetch(version, folder)


def test_a_broken_fetch_goes_on_with_the_files_that_are_there(hub, make_folder):
    version = hub.publish(make_folder(FILES), "model", lineage={})
    folder = make_folder({"weights/a.safetensors": b"a" * 3000, "weights/b.safetensors": b"torn"})
    (folder / ".config.json.partial").write_bytes(b"to")
    kept = (folder / "weights" / "a.safetensors").stat().st_ino
    hub.fetch(version, folder)
    assert manifest.damage(folder) == []
    assert (folder / "weights" / "a.safetensors").stat().st_ino == kept


def test_what_a_killed_publisher_left_half_copied_is_removed(hub, make_folder):
    (hub.root / "incoming").mkdir(parents=True)
    (hub.root / "incoming" / "half").write_bytes(b"x")
    hub.publish(make_folder(FILES), "model", lineage={})
    assert list((hub.root / "incoming").iterdir()) == []


def test_a_file_that_changes_while_it_is_published_is_refused(hub, make_folder, monkeypatch):
    folder = make_folder(FILES)
    store = hub._store

    def change_then_store(*arguments):
        (folder / "config.json").write_bytes(b"xx")
        store(*arguments)

    monkeypatch.setattr(hub, "_store", change_then_store)
    with pytest.raises(InputError, match=r"config\.json: The file changed while it was being published"):
        hub.publish(folder, "model", lineage={})
    assert hub.models() == []


def test_a_version_of_another_hub_is_refused(hub, make_folder, tmp_path):
    foreign = DirectoryHub(tmp_path / "elsewhere").publish(make_folder(FILES), "model", lineage={})
    hub.publish(make_folder({"config.json": b"2"}), "model", lineage={})
    with pytest.raises(InputError, match="model@v1 is not in this hub any more"):
        hub.promote(foreign, "production")


def test_open_hub_is_the_directory_that_the_environment_names(make_folder, tmp_path):
    opened = open_hub({"TUNERY_HUB": str(tmp_path / "named")})
    opened.publish(make_folder(FILES), "model", lineage={})
    assert (tmp_path / "named" / "versions" / "model@v1.json").is_file()


def test_one_file_is_read_where_it_lies_and_verified(hub, make_folder):
    version = hub.publish(make_folder({"config.json": b"{}"}), "model", lineage={})
    assert hub.read(version, "config.json") == b"{}"
    assert hub.read(version, "absent.json") is None
    blob = hub._blobs.path(hub.manifest(version).files[0].sha256)
    blob.chmod(0o644)
    blob.write_bytes(b"[]")
    with pytest.raises(TuneryError, match="SHA-256"):
        hub.read(version, "config.json")
