import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workloads.storage import atomic


def test_a_reader_never_sees_a_half_written_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "state.json"
    atomic.write_json(path, {"old": True})

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="No space"):
        atomic.write_json(path, {"new": True})
    assert atomic.read_json(path) == {"old": True}
    assert [each.name for each in tmp_path.iterdir()] == ["state.json"]


def test_missing_and_broken_json_read_as_none(tmp_path: Path) -> None:
    assert atomic.read_json(tmp_path / "absent.json") is None
    (tmp_path / "broken.json").write_text('{"a": ')
    assert atomic.read_json(tmp_path / "broken.json") is None


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner, max_size=3)))
def test_json_comes_back_as_it_went_in(tmp_path_factory: pytest.TempPathFactory, value: object) -> None:
    path = tmp_path_factory.mktemp("json") / "value.json"
    atomic.write_json(path, value, durable=False)
    assert atomic.read_json(path) == value
