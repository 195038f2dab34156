"""Folders to a store and back: whole or not at all, and never twice what is there."""

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from workloads.errors import InputError, UnavailableError
from workloads.storage import manifest
from workloads.storage.manifest import MANIFEST_NAME
from workloads.storage.object_directory import DirectoryStore
from workloads.storage.objects import DamagedError, Store, open_store
from workloads.storage.transfer import is_whole, pull, push

FILES = {"a.bin": bytes(range(256)) * 5000, "sub/b.json": b"{}", "sub/empty": b"", "c.bin": b"c" * 70_000}
MakeFolder = Callable[[str, dict[str, bytes]], Path]


class Watched(DirectoryStore):
    """A folder store that tells what it was asked, and fails where it is told to."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.calls: list[tuple[str, str, int]] = []
        self.fail_at: str | None = None

    def _note(self, what: str, key: str, offset: int = 0) -> None:
        if self.fail_at is not None and key.endswith(self.fail_at):
            raise UnavailableError.of("The network is away.", "wait")
        self.calls.append((what, key, offset))

    def write(self, key: str, *arguments: Any, **options: Any) -> bool:
        self._note("write", key)
        return super().write(key, *arguments, **options)

    def upload(self, source: Path, key: str, *arguments: Any, **options: Any) -> bool:
        self._note("upload", key)
        return super().upload(source, key, *arguments, **options)

    def download(self, key: str, target: Any, offset: int = 0) -> bool:
        self._note("download", key, offset)
        return super().download(key, target, offset)


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(tmp_path / "store")


def test_a_folder_comes_back_as_it_went(store: Store, make_folder: MakeFolder, tmp_path: Path) -> None:
    folder = make_folder("one", FILES)
    recorded = push(folder, store, "run/one")
    assert is_whole(store, "run/one")
    assert pull(store, "run/one", tmp_path / "two") == recorded
    assert manifest.damage(tmp_path / "two") == []
    assert {path: (tmp_path / "two" / path).read_bytes() for path in FILES} == FILES
    assert not list((tmp_path / "two").rglob("*.partial"))


def test_the_manifest_is_last_and_what_is_there_is_not_sent_again(watched: Watched, make_folder: MakeFolder) -> None:
    folder = make_folder("one", FILES)
    push(folder, watched, "x")
    assert watched.calls[-1][:2] == ("write", f"x/{MANIFEST_NAME}")
    assert len(watched.calls) == len(FILES) + 1
    watched.calls.clear()
    push(folder, watched, "x")
    assert watched.calls == []
    (folder / "c.bin").write_bytes(b"d" * 70_000)
    manifest.commit(folder)
    push(folder, watched, "x")
    assert [each[:2] for each in watched.calls] == [("upload", "x/c.bin"), ("write", f"x/{MANIFEST_NAME}")]


def test_an_upload_that_fails_does_not_count_and_is_continued(watched: Watched, make_folder: MakeFolder) -> None:
    folder = make_folder("one", FILES)
    watched.fail_at = "c.bin"
    with pytest.raises(UnavailableError):
        push(folder, watched, "x", workers=1)
    assert not is_whole(watched, "x")
    sent = {key for _, key, _ in watched.calls}
    watched.fail_at = None
    watched.calls.clear()
    push(folder, watched, "x")
    assert is_whole(watched, "x")
    assert sent.isdisjoint(key for _, key, _ in watched.calls)


def test_while_a_folder_is_replaced_it_does_not_count(watched: Watched, make_folder: MakeFolder) -> None:
    push(make_folder("one", FILES), watched, "x")
    watched.fail_at = "c.bin"
    with pytest.raises(UnavailableError):
        push(make_folder("two", FILES | {"c.bin": b"other"}), watched, "x")
    assert not is_whole(watched, "x")


def test_a_folder_that_is_not_whole_is_not_sent(store: Store, make_folder: MakeFolder) -> None:
    folder = make_folder("one", FILES)
    (folder / "a.bin").write_bytes(b"x" * len(FILES["a.bin"]))
    with pytest.raises(DamagedError, match="not what its manifest records"):
        push(folder, store, "x")
    (folder / MANIFEST_NAME).unlink()
    with pytest.raises(InputError, match="no manifest"):
        push(folder, store, "x")
    assert not is_whole(store, "x")


DAMAGE: dict[str, tuple[bytes | None, str]] = {
    "cut off": (FILES["c.bin"][:100], "has 100 bytes, not 70,000"),
    "too long": (FILES["c.bin"] + b"c", "has 70,001 bytes, not 70,000"),
    "one bit": (b"b" + FILES["c.bin"][1:], "does not have the recorded SHA-256"),
    "absent": (None, "is absent"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_in_the_store_is_found_and_named(
    store: Store, make_folder: MakeFolder, tmp_path: Path, kind: str
) -> None:
    push(make_folder("one", FILES), store, "x")
    content, says = DAMAGE[kind]
    store.delete("x/c.bin")
    if content is not None:
        store.write("x/c.bin", content)
    assert is_whole(store, "x") == (kind == "one bit")
    with pytest.raises(DamagedError, match=says) as caught:
        pull(store, "x", tmp_path / "two")
    assert str(caught.value.problems[0].file).endswith("x/c.bin")
    assert manifest.read(tmp_path / "two") is None
    assert not (tmp_path / "two" / "c.bin").exists()


def test_a_manifest_that_cannot_be_read_is_damage(store: Store, make_folder: MakeFolder, tmp_path: Path) -> None:
    push(make_folder("one", FILES), store, "x")
    store.write(f"x/{MANIFEST_NAME}", b'{"files": [{"path": "../../x", "size": 1, "sha256": ""}]}')
    assert not is_whole(store, "x")
    with pytest.raises(DamagedError, match="outside its folder"):
        pull(store, "x", tmp_path / "two")


def test_a_flipped_bit_on_the_way_is_found(faults: Any, gcs_url: str, make_folder: MakeFolder, tmp_path: Path) -> None:
    store = open_store(gcs_url)
    push(make_folder("one", {"c.bin": FILES["c.bin"]}), store, "x")
    wanted = manifest.read(tmp_path / "one")
    assert wanted is not None
    faults.spoil("flip")
    from workloads.storage.transfer import _continue

    reason = _continue(store, "x/c.bin", tmp_path / "partial", wanted.files[0])
    assert reason == "does not have the recorded SHA-256"
    faults.spoil("cut", 1)
    assert _continue(store, "x/c.bin", tmp_path / "partial", wanted.files[0]) is None


@pytest.mark.parametrize(("begun", "offsets"), [(FILES["c.bin"][:30_000], [30_000]), (b"x" * 30_000, [30_000, 0])])
def test_a_broken_download_goes_on_and_a_wrong_beginning_is_not_kept(
    watched: Watched, make_folder: MakeFolder, tmp_path: Path, begun: bytes, offsets: list[int]
) -> None:
    recorded = push(make_folder("one", FILES), watched, "x")
    entry = next(each for each in recorded.files if each.path == "c.bin")
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / f".c.bin.{entry.sha256[:8]}.partial").write_bytes(begun)
    pull(watched, "x", tmp_path / "two")
    assert [offset for what, key, offset in watched.calls if (what, key) == ("download", "x/c.bin")] == offsets
    assert manifest.damage(tmp_path / "two") == []


def test_files_that_are_there_are_not_brought_again_and_wrong_ones_are(
    watched: Watched, make_folder: MakeFolder, tmp_path: Path
) -> None:
    push(make_folder("one", FILES), watched, "x")
    pull(watched, "x", tmp_path / "two")
    watched.calls.clear()
    pull(watched, "x", tmp_path / "two")
    assert watched.calls == []
    (tmp_path / "two" / "c.bin").write_bytes(b"d" * 70_000)
    pull(watched, "x", tmp_path / "two")
    assert watched.calls == [("download", "x/c.bin", 0)]
    assert manifest.damage(tmp_path / "two") == []


def test_a_part_of_a_folder_can_be_brought(store: Store, make_folder: MakeFolder, tmp_path: Path) -> None:
    push(make_folder("one", FILES), store, "x")
    pull(store, "x", tmp_path / "two", wanted=lambda path: path.endswith(".json"))
    assert manifest.damage(tmp_path / "two") == []
    assert [each.path for each in manifest.scan(tmp_path / "two").files] == ["sub/b.json"]


def test_two_that_send_the_same_bytes_do_not_disturb_one_another(store: Store, make_folder: MakeFolder) -> None:
    folder = make_folder("one", FILES)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: push(folder, store, "x", replace=False), range(4)))
    assert len(set(found)) == 1
    assert is_whole(store, "x")


def test_other_bytes_under_a_name_that_never_changes_are_refused(store: Store, make_folder: MakeFolder) -> None:
    push(make_folder("one", FILES), store, "x")
    with pytest.raises(DamagedError, match="has other bytes"):
        push(make_folder("two", FILES | {"c.bin": b"other"}), store, "x", replace=False)
    with pytest.raises(DamagedError, match="is of another folder"):
        push(make_folder("three", {"d.bin": b"d"}), store, "x", replace=False)
    assert is_whole(store, "x")


def test_too_small_a_disk_is_found_before_anything_is_brought(
    watched: Watched, make_folder: MakeFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    push(make_folder("one", FILES), watched, "x")
    watched.calls.clear()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10_000, 8_000, 2_000))
    with pytest.raises(UnavailableError, match="disk is too small"):
        pull(watched, "x", tmp_path / "two")
    assert watched.calls == []


def test_an_absent_folder_says_which_stage_to_run(store: Store, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no data"):
        pull(store, "data", tmp_path / "two")
