"""A hub whose disk is full, read-only or damaged says so and stays as it was."""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from workloads.errors import ExitCode, InputError, TuneryError, UnavailableError
from workloads.hub import directory
from workloads.hub.directory import DirectoryHub
from workloads.hub.interface import ModelReference
from workloads.storage import manifest

FILES = {"config.json": b"{}", "weights/a.safetensors": b"a" * 3000, "weights/b.safetensors": b"b" * 3000}


def spoil(path: Path, content: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(content)


@contextmanager
def as_an_ordinary_user() -> Iterator[None]:
    """Permissions mean nothing to root, as whom tests run in many containers."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


def test_too_small_a_disk_is_found_before_anything_is_copied(hub, make_folder, tmp_path, monkeypatch):
    version = hub.publish(make_folder(FILES), "model", lineage={})
    kept = sorted((hub.root / "blobs").rglob("*"))
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(10_000, 8_000, 2_000))
    with pytest.raises(UnavailableError, match="5,000 bytes are needed and 2,000 are free"):
        hub.publish(make_folder(FILES | {"more": b"m" * 5000}), "model", lineage={})
    with pytest.raises(UnavailableError, match="6,002 bytes are needed and 2,000 are free"):
        hub.fetch(version, tmp_path / "copy")
    assert sorted((hub.root / "blobs").rglob("*")) == kept
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize(
    ("number", "error", "message"),
    [
        (errno.EROFS, InputError, "Access is refused: Read-only file system"),
        (errno.EACCES, InputError, "Access is refused: Permission denied"),
        (errno.ENOSPC, UnavailableError, "The disk is full"),
        (errno.EIO, UnavailableError, "The disk fails"),
    ],
)
def test_a_disk_that_refuses_is_explained_and_leaves_the_hub_as_it_was(
    hub, make_folder, monkeypatch, number, error, message
):
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number), str(hub.root))

    version = hub.publish(make_folder(FILES), "model", lineage={})
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", refuse)
        with pytest.raises(error, match=message) as refused:
            hub.publish(make_folder({"config.json": b"2"}), "model", lineage={})
        assert "TUNERY_HUB" in refused.value.problems[0].fix
        with pytest.raises(error, match=message):
            hub.promote(version, "production")
    assert hub.models() == [version]
    assert list((hub.root / "incoming").iterdir()) == []
    assert hub.promote(version, "production").aliases == ("production",)


def test_a_read_only_hub_can_be_read_and_says_that_it_cannot_be_written(make_folder):
    with tempfile.TemporaryDirectory() as public:  # unlike tmp_path, other users may enter it
        hub = DirectoryHub(Path(public, "hub"))
        version = hub.publish(make_folder(FILES), "model", lineage={})
        copy = Path(public, "copy")
        copy.mkdir()
        Path(public).chmod(0o755)
        copy.chmod(0o777)
        hub.root.chmod(0o555)
        with as_an_ordinary_user():
            hub.fetch(hub.resolve(ModelReference("model")), copy)
            assert hub.verify(version) == []
            with pytest.raises(InputError, match="Access is refused: Permission denied") as refused:
                hub.promote(version, "production")
        hub.root.chmod(0o755)
        assert "TUNERY_HUB" in refused.value.problems[0].fix
        assert manifest.damage(copy) == []


def test_a_hub_that_is_a_file_is_refused(tmp_path, make_folder):
    (tmp_path / "file").write_text("")
    for root in (tmp_path / "file", tmp_path / "file" / "hub"):
        with pytest.raises(InputError, match="It is not a folder"):
            DirectoryHub(root).publish(make_folder(FILES), "model", lineage={})


def test_a_lock_that_is_held_too_long_is_said(hub, make_folder, monkeypatch):
    from filelock import FileLock

    version = hub.publish(make_folder(FILES), "model", lineage={})
    monkeypatch.setattr(directory, "_INDEX_LOCK_SECONDS", 0)
    with FileLock(hub.root / ".index.lock"), pytest.raises(UnavailableError, match="holds the lock"):
        hub.promote(version, "production")


def test_a_damaged_blob_is_found_never_delivered_and_repaired_by_publishing_again(hub, make_folder, tmp_path):
    version = hub.publish(make_folder(FILES), "model", lineage={})
    other = hub.publish(make_folder({"config.json": b"other"}), "other", lineage={})
    stored = {entry.path: hub._blobs.path(entry.sha256) for entry in hub.manifest(version).files}
    spoil(stored["weights/a.safetensors"], b"z" * 3000)
    stored["weights/b.safetensors"].unlink()
    spoil(stored["config.json"], b"longer")
    problems = hub.verify(version)
    assert [problem.message for problem in problems] == [
        "config.json of model@v1 has 6 bytes, not 2.",
        "weights/a.safetensors of model@v1 does not have the recorded SHA-256.",
        "weights/b.safetensors of model@v1 is missing.",
    ]
    with pytest.raises(TuneryError, match="of model@v1") as damaged:
        hub.fetch(version, tmp_path / "copy")
    assert damaged.value.exit_code == ExitCode.INTERNAL
    assert manifest.read(tmp_path / "copy") is None
    assert hub.verify(other) == []
    assert hub.publish(make_folder(FILES), "model", lineage={}) == version
    assert hub.verify(version) == []
    hub.fetch(version, tmp_path / "copy")
    assert manifest.damage(tmp_path / "copy") == []


@pytest.mark.parametrize(("key", "message"), [("lineage", "The lineage of"), ("files", "The file list of")])
def test_an_altered_record_is_found(hub, make_folder, tmp_path, key, message):
    version = hub.publish(make_folder(FILES), "model", lineage={"seed": 1})
    path = hub.root / "versions" / "model@v1.json"
    record = json.loads(path.read_text())
    if key == "lineage":
        record["lineage"]["seed"] = 2
    else:
        record["files"].pop()
    spoil(path, json.dumps(record).encode())
    assert [problem.message.startswith(message) for problem in hub.verify(version)] == [True]
    if key == "files":
        with pytest.raises(TuneryError, match="The file list of"):
            hub.fetch(version, tmp_path / "copy")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"name": "model"}'])
def test_a_damaged_record_is_named_and_its_version_is_not_given_again(hub, make_folder, content):
    hub.publish(make_folder(FILES), "model", lineage={})
    other = hub.publish(make_folder(FILES), "other", lineage={})
    spoil(hub.root / "versions" / "model@v1.json", content)
    for action in (
        hub.models,
        lambda: hub.resolve(ModelReference("model")),
        lambda: hub.publish(make_folder({"a": b"a"}), "model", lineage={}),
    ):
        with pytest.raises(TuneryError, match=r"model@v1\.json: This record of a model version is damaged"):
            action()
    assert hub.resolve(ModelReference("other")) == other
