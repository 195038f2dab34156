"""What a person calls a model becomes a whole folder, or an error at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from workloads.errors import InputError, TuneryError
from workloads.hub import open_hub
from workloads.serving.source import find_model
from workloads.storage import manifest


def _folder(path: Path, **files: Any) -> Path:
    path.mkdir()
    (path / "model.safetensors").write_bytes(b"weights of " + path.name.encode())
    for name, value in ({"config": {}, "tokenizer_config": {}} | files).items():
        if value is not None:
            (path / f"{name}.json").write_text(json.dumps(value))
    return path


def _adapter(path: Path, base: object) -> Path:
    return _folder(path, config=None, adapter_config={"base_model_name_or_path": str(base)})


def test_a_model_of_the_hub_is_found_by_name_version_and_alias(tmp_path: Path) -> None:
    lineage = {"training_config": {"template": "llama3"}, "base": {"model": "other"}}
    published = open_hub().publish(_folder(tmp_path / "m"), "acme/bot", lineage=lineage, aliases=["production"])
    for text in ("acme/bot", "acme/bot@v1", "acme/bot@production", f"acme/bot@{published.revision}"):
        found = find_model(text)
        assert (found.name, found.version, found.digest) == ("acme/bot@v1", "v1", published.digest)
        assert (found.folder / "config.json").is_file()
        assert {"acme/bot", "acme/bot@production", text} - {found.name} <= set(found.other_names)
        assert found.training_config == {"template": "llama3"}
        assert found.base is None
        assert not found.is_plain(None)


def test_an_unknown_model_is_an_input_error() -> None:
    with pytest.raises(InputError, match="nothing-like-it"):
        find_model("nothing-like-it")


def test_a_damaged_model_of_the_hub_is_refused(tmp_path: Path) -> None:
    open_hub().publish(_folder(tmp_path / "m"), "bot", lineage={})
    blobs = [path for path in (tmp_path / "hub").rglob("*") if path.is_file() and b"weights" in path.read_bytes()]
    assert blobs
    for blob in blobs:
        blob.chmod(0o644)
        blob.write_bytes(b"wEights of m")
    with pytest.raises(TuneryError):
        find_model("bot")


def test_an_adapter_of_the_hub_brings_its_base(tmp_path: Path) -> None:
    hub = open_hub()
    base = hub.publish(_folder(tmp_path / "base"), "base", lineage={})
    adapter = _adapter(tmp_path / "adapter", "base")
    lineage = {"base": {"model": "base", "reference": base.reference, "revision": base.revision, "folder": None}}
    hub.publish(adapter, "bot", lineage=lineage)
    found = find_model("bot")
    assert found.base is not None
    assert (found.base / "model.safetensors").read_bytes() == b"weights of base"


def test_an_adapter_of_the_hub_trained_on_a_folder_finds_it(tmp_path: Path) -> None:
    base = _folder(tmp_path / "base")
    lineage = {"base": {"model": "base", "reference": None, "revision": "0" * 40, "folder": str(base)}}
    open_hub().publish(_adapter(tmp_path / "adapter", base), "bot", lineage=lineage)
    assert find_model("bot").base == base


def test_an_adapter_without_its_base_says_what_is_missing(tmp_path: Path) -> None:
    open_hub().publish(_adapter(tmp_path / "adapter", "gone"), "bot", lineage={"base": {"model": "acme/gone"}})
    with pytest.raises(InputError, match="acme/gone"):
        find_model("bot")


def test_a_folder_is_a_model_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = _folder(tmp_path / "exported")
    plain = find_model(str(folder))
    assert (plain.name, plain.digest, plain.version) == ("exported", None, None)
    committed = manifest.commit(folder)
    monkeypatch.chdir(tmp_path)
    for text in ("exported", "./exported"):
        found = find_model(text)
        assert (found.folder, found.digest) == (folder, committed.digest)


def test_a_damaged_folder_is_refused_and_names_every_file(tmp_path: Path) -> None:
    folder = _folder(tmp_path / "exported")
    manifest.commit(folder)
    (folder / "model.safetensors").write_bytes(b"Weights of exported")
    (folder / "config.json").unlink()
    (folder / "adapter_config.json").write_text("{}")
    with pytest.raises(InputError) as raised:
        find_model(str(folder))
    assert [name for name in ("config.json", "model.safetensors") if name in str(raised.value)] == [
        "config.json",
        "model.safetensors",
    ]


def test_a_folder_with_an_adapter_uses_the_base_it_names(tmp_path: Path) -> None:
    base = _folder(tmp_path / "base")
    assert find_model(str(_adapter(tmp_path / "adapter", base))).base == base
    with pytest.raises(InputError, match="acme/elsewhere"):
        find_model(str(_adapter(tmp_path / "lonely", "acme/elsewhere")))


def test_a_folder_that_is_none_or_holds_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        find_model(str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match="holds no model"):
        find_model(str(tmp_path))


def test_a_model_is_plain_only_when_nothing_says_how_to_speak_to_it(tmp_path: Path) -> None:
    folder = _folder(tmp_path / "m")
    assert find_model(str(folder)).is_plain(None)
    assert not find_model(str(folder)).is_plain("llama3")
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    assert not find_model(str(folder)).is_plain(None)
    spoken = _folder(tmp_path / "n", tokenizer_config={"chat_template": "{{ messages }}"})
    assert not find_model(str(spoken)).is_plain(None)
