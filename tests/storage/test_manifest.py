import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads.storage import manifest


def _folder(root: Path) -> Path:
    folder = root / "model"
    (folder / "sub").mkdir(parents=True)
    (folder / "weights.bin").write_bytes(bytes(range(256)) * 8)
    (folder / "sub" / "config.json").write_text("{}")
    return folder


def test_a_committed_folder_verifies(tmp_path: Path) -> None:
    folder = _folder(tmp_path)
    committed = manifest.commit(folder)
    assert [entry.path for entry in committed.files] == ["sub/config.json", "weights.bin"]
    assert manifest.damage(folder) == []
    assert manifest.read(folder) == committed


def test_a_folder_without_manifest_does_not_count(tmp_path: Path) -> None:
    assert manifest.damage(_folder(tmp_path)) == ["it has no readable manifest"]


@settings(max_examples=60, deadline=None)
@given(position=st.integers(0, 2047), bit=st.integers(0, 7))
def test_any_flipped_bit_is_found(tmp_path_factory: pytest.TempPathFactory, position: int, bit: int) -> None:
    folder = _folder(tmp_path_factory.mktemp("flip"))
    manifest.commit(folder)
    content = bytearray((folder / "weights.bin").read_bytes())
    content[position] ^= 1 << bit
    (folder / "weights.bin").write_bytes(content)
    assert manifest.damage(folder, full=False) == []
    assert manifest.damage(folder) == ["weights.bin does not have the recorded SHA-256"]


def test_truncated_and_missing_files_are_found_without_hashing(tmp_path: Path) -> None:
    folder = _folder(tmp_path)
    manifest.commit(folder)
    (folder / "weights.bin").write_bytes(b"short")
    (folder / "sub" / "config.json").unlink()
    assert manifest.damage(folder, full=False) == ["sub/config.json is missing", "weights.bin has 5 bytes, not 2048"]


@pytest.mark.parametrize("path", ["../evil", "/etc/passwd", "a/../../b", ""])
def test_a_manifest_cannot_name_a_path_outside_its_folder(tmp_path: Path, path: str) -> None:
    value = {"files": [{"path": path, "size": 1, "sha256": "0" * 64}]}
    (tmp_path / manifest.MANIFEST_NAME).write_text(json.dumps(value))
    assert manifest.read(tmp_path) is None


def test_equal_content_has_equal_digests_wherever_it_lies(tmp_path: Path) -> None:
    one, two = _folder(tmp_path / "one"), _folder(tmp_path / "two")
    assert manifest.scan(one).digest == manifest.commit(two).digest
    (two / "sub" / "config.json").rename(two / "config.json")
    assert manifest.scan(one).digest != manifest.scan(two).digest
