"""What every store does, whichever it is."""

import hashlib
import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workloads.errors import InputError
from workloads.storage.manifest import MANIFEST_NAME
from workloads.storage.object_directory import DirectoryStore
from workloads.storage.objects import DamagedError, Store, check_key, open_store


def _file(folder: Path, content: bytes) -> tuple[Path, str]:
    path = folder / "source"
    path.write_bytes(content)
    return path, hashlib.sha256(content).hexdigest()


def test_what_is_written_is_read_and_what_is_absent_is_none(store: Store) -> None:
    assert store.read("run/run.json") is None
    assert store.find("run/run.json") is None
    assert store.write("run/run.json", b"one")
    assert store.write("run/run.json", b"two")
    assert store.read("run/run.json") == b"two"
    assert store.read("run") is None


def test_of_many_that_create_at_once_one_does(store: Store) -> None:
    contents = [f"{number}".encode() for number in range(16)]
    with ThreadPoolExecutor(16) as pool:
        created = list(pool.map(lambda content: store.write("run.json", content, if_absent=True), contents))
    assert created.count(True) == 1
    assert store.read("run.json") == contents[created.index(True)]
    assert [each.key for each in store.under("")] == ["run.json"]


@pytest.mark.parametrize("size", [0, 1, 20 << 20])
def test_a_file_comes_back_whole_and_from_any_byte_on(store: Store, tmp_path: Path, size: int) -> None:
    content = bytes(range(251)) * (size // 251 + 1)
    content = content[:size]
    source, digest = _file(tmp_path, content)
    assert store.upload(source, "a/weights", digest)
    found = store.find("a/weights")
    assert found is not None
    assert (found.size, found.sha256) == (size, digest)
    for offset in {0, size // 2, max(0, size - 1)}:
        target = io.BytesIO()
        assert store.download("a/weights", target, offset)
        assert target.getvalue() == content[offset:]
    assert not store.download("a/other", io.BytesIO())


def test_a_file_that_changed_is_not_stored(store: Store, tmp_path: Path) -> None:
    source, digest = _file(tmp_path, b"as recorded")
    source.write_bytes(b"something else")
    with pytest.raises(DamagedError, match="not what its manifest records"):
        store.upload(source, "a", digest)
    assert store.under("") == []


def test_an_upload_can_leave_what_exists(store: Store, tmp_path: Path) -> None:
    source, digest = _file(tmp_path, b"first")
    assert store.upload(source, "a", digest, if_absent=True)
    source, digest = _file(tmp_path, b"second")
    assert not store.upload(source, "a", digest, if_absent=True)
    assert store.read("a") == b"first"
    assert store.upload(source, "a", digest)
    assert store.read("a") == b"second"


def test_a_listing_is_of_one_folder(store: Store) -> None:
    for key in ("a/1", "a/b/2", "ab/3", "a.json"):
        store.write(key, key.encode())
    assert [(each.key, each.size) for each in store.under("a")] == [("a/1", 3), ("a/b/2", 5)]
    assert [each.key for each in store.under("")] == ["a.json", "a/1", "a/b/2", "ab/3"]
    assert store.under("none") == []


def test_deleting_takes_a_folder_or_one_object_and_nothing_beside(store: Store) -> None:
    for key in ("a/1", "a/b/2", "ab/3"):
        store.write(key, b"x")
    assert store.delete("a") == 2
    assert store.delete("a") == 0
    assert [each.key for each in store.under("")] == ["ab/3"]
    assert store.delete("ab/3") == 1
    assert store.under("") == []


def test_a_deletion_begins_with_the_manifest(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    from google.cloud.storage import Blob

    for key in ("c/a", f"c/{MANIFEST_NAME}", "c/z"):
        store.write(key, b"x")
    real = {Path: Path.unlink, Blob: Blob.delete}
    seen: list[str] = []

    def stop_after_one(self: Path | Blob, *arguments: object, **options: object) -> None:
        if seen:
            raise KeyboardInterrupt
        seen.append(self.name)
        real[Blob if isinstance(self, Blob) else Path](self, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", stop_after_one)
        patch.setattr(Blob, "delete", stop_after_one)
        with pytest.raises(KeyboardInterrupt):
            store.delete("c")
    assert [each.key for each in store.under("c")] == ["c/a", "c/z"]


@pytest.mark.parametrize("key", ["", "/etc/passwd", "../x", "a/../../x", "a//b", "a/./b", "a\nb", "a/"])
def test_a_key_cannot_mean_anything_outside(store: Store, key: str) -> None:
    with pytest.raises(InputError, match="is no key"):
        store.write(key, b"x")


@given(st.text(max_size=40))
def test_a_key_that_passes_stays_inside_its_folder(key: str) -> None:
    try:
        check_key(key)
    except InputError:
        return
    root = Path("/store")
    assert (root / key).resolve().is_relative_to(root)


@pytest.mark.parametrize("url", ["s3://bucket/x", "gs://", "gs://UPPER/x", "https://host/x", ""])
def test_other_places_are_refused(url: str) -> None:
    with pytest.raises(InputError, match="is no place"):
        open_store(url)


def test_a_writer_that_is_killed_leaves_nothing_that_counts(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "store")
    store.write("a/b", b"whole")
    (tmp_path / "store" / "a" / ".incoming-x1").write_bytes(b"hal")
    assert [each.key for each in store.under("a")] == ["a/b"]


def test_a_folder_that_cannot_be_written_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="not a folder"):
        open_store(str(tmp_path / "file")).write("a/b", b"x")
