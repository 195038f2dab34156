from __future__ import annotations

import os
import time

import pytest

from workloads.errors import TuneryError
from workloads.hub.cache import cached
from workloads.storage import manifest

FILES = {"config.json": b"{}", "weights/a.safetensors": b"a" * 3000}


class NoHub:
    """Fails the test when the cache turns to it."""

    def __getattr__(self, name):
        raise AssertionError(f"the hub was asked: {name}")


@pytest.fixture
def version(hub, make_folder):
    return hub.publish(make_folder(FILES), "model", lineage={})


@pytest.fixture
def settled(hub, version, tmp_path):
    """A cached copy whose manifest is younger than its files by more than a tick of the disk's clock."""
    folder = cached(hub, version, tmp_path / "cache")
    later = time.time_ns() + 50_000_000
    os.utime(folder / manifest.MANIFEST_NAME, ns=(later, later))
    return folder


def age(folder):
    """Makes the manifest older than what is done to the files next, without waiting for the clock."""
    os.utime(folder / manifest.MANIFEST_NAME, ns=(0, 0))


def test_the_copy_lies_under_its_revision_and_verifies(hub, version, tmp_path):
    moved: list[int] = []
    folder = cached(hub, version, tmp_path / "cache", moved.append)
    assert folder == tmp_path / "cache" / "models" / version.revision
    assert manifest.damage(folder) == []
    assert sum(moved) == version.size


def test_the_second_call_hashes_nothing_and_asks_nobody(version, settled, tmp_path, monkeypatch):
    monkeypatch.setattr(manifest, "sha256_file", lambda path: pytest.fail(f"{path} was hashed"))
    assert cached(NoHub(), version, tmp_path / "cache") == settled


def test_a_touched_copy_is_hashed_once_and_believed_again(version, settled, tmp_path, monkeypatch):
    age(settled)
    hashed = []
    real = manifest.sha256_file
    monkeypatch.setattr(manifest, "sha256_file", lambda path: hashed.append(path) or real(path))
    assert cached(NoHub(), version, tmp_path / "cache") == settled
    assert len(hashed) == len(FILES)
    assert (settled / manifest.MANIFEST_NAME).stat().st_mtime_ns > 0


def test_a_change_that_keeps_size_and_modification_time_is_noticed(hub, version, settled, tmp_path):
    target = settled / "weights" / "a.safetensors"
    times = target.stat()
    target.chmod(0o644)
    target.write_bytes(b"b" * 3000)
    os.utime(target, ns=(times.st_atime_ns, times.st_mtime_ns))
    os.utime(settled / manifest.MANIFEST_NAME, ns=(times.st_mtime_ns, times.st_mtime_ns + 1))
    assert target.stat().st_mtime_ns < (settled / manifest.MANIFEST_NAME).stat().st_mtime_ns
    cached(hub, version, tmp_path / "cache")
    assert target.read_bytes() == b"a" * 3000


@pytest.mark.parametrize("content", [b"b" * 3000, b"short", None])
def test_a_damaged_copy_is_set_aside_and_fetched_again(hub, version, settled, tmp_path, content, caplog):
    target = settled / "weights" / "a.safetensors"
    target.unlink()
    if content is not None:
        target.write_bytes(content)
        age(settled)
    assert cached(hub, version, tmp_path / "cache") == settled
    assert manifest.damage(settled) == []
    aside = tmp_path / "cache" / "damaged" / version.revision / "weights" / "a.safetensors"
    if content is None:
        assert not aside.exists()
    else:
        assert aside.read_bytes() == content
        assert "weights/a.safetensors" in caplog.text


def test_a_file_that_is_not_the_models_is_set_aside(hub, version, settled, tmp_path):
    (settled / "modeling.py").write_text("print('code of a stranger')")
    cached(hub, version, tmp_path / "cache")
    assert not (settled / "modeling.py").exists()
    assert (tmp_path / "cache" / "damaged" / version.revision / "modeling.py").exists()
    assert manifest.damage(settled) == []


def test_a_manifest_of_other_content_does_not_count(hub, version, settled, tmp_path):
    target = settled / "config.json"
    target.chmod(0o644)
    target.write_bytes(b"evil")
    manifest.commit(settled)
    later = time.time_ns() + 50_000_000
    os.utime(settled / manifest.MANIFEST_NAME, ns=(later, later))
    cached(hub, version, tmp_path / "cache")
    assert target.read_bytes() == b"{}"


def test_a_model_that_is_damaged_in_the_hub_is_not_cached(hub, version, tmp_path):
    blob = hub._blobs.path(hub.manifest(version).files[0].sha256)
    blob.chmod(0o644)
    blob.write_bytes(b"[]")
    with pytest.raises(TuneryError, match="does not have the recorded SHA-256"):
        cached(hub, version, tmp_path / "cache")
    assert manifest.read(tmp_path / "cache" / "models" / version.revision) is None
