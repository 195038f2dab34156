from __future__ import annotations

import json
import struct
import sys
from pathlib import Path

import pytest

from workloads.cli.main import main
from workloads.errors import ExitCode


@pytest.fixture
def tunery(tmp_path, monkeypatch, capsys):
    """Runs a command line; gives the exit code, standard output and standard error."""
    monkeypatch.setenv("TUNERY_HUB", str(tmp_path / "hub"))

    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stop:
            main(list(arguments))
        captured = capsys.readouterr()
        return stop.value.code, captured.out, captured.err

    return run


@pytest.fixture
def model(tmp_path) -> Path:
    header = json.dumps({"weight": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "llama"}')
    (folder / "tokenizer.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(8))
    return folder


def spoil_a_blob(hub: Path) -> Path:
    blob = next(path for path in sorted((hub / "blobs").rglob("*")) if path.is_file())
    blob.chmod(0o644)
    blob.write_bytes(b"spoilt")
    return blob


def test_a_model_goes_in_is_listed_promoted_and_verified(tunery, model):
    code, out, _ = tunery("import", str(model), "org/tiny", "--alias", "candidate")
    assert code == ExitCode.OK
    assert out.startswith("org/tiny@v1 is in the hub: ")
    code, out, _ = tunery("promote", "org/tiny@candidate", "production")
    assert (code, out) == (ExitCode.OK, "production of org/tiny is v1 now.\n")
    code, out, _ = tunery("models")
    assert code == ExitCode.OK
    assert out.splitlines()[1].split()[:4] == ["org/tiny", "v1", "candidate,", "production"]
    code, out, _ = tunery("verify", "org/tiny@v1")
    assert code == ExitCode.OK
    assert out.startswith("org/tiny@v1 is whole: 3 files, ")


def test_machines_read_json(tunery, model):
    code, out, _ = tunery("import", str(model), "tiny", "--version", "first", "--json")
    added = json.loads(out)
    assert (code, added["version"], added["aliases"]) == (ExitCode.OK, "first", [])
    assert added["digest"] == f"sha256:{added['digest'][7:]}"
    assert json.loads(tunery("promote", "tiny@first", "production", "--json")[1])["aliases"] == ["production"]
    assert json.loads(tunery("models", "--json")[1]) == [added | {"aliases": ["production"]}]
    verified = json.loads(tunery("verify", "tiny@production", "--json")[1])
    assert (verified["ok"], verified["files"], verified["digest"]) == (True, 3, added["digest"])


def test_an_empty_hub_says_how_to_fill_it(tunery):
    assert tunery("models")[:2] == (
        ExitCode.OK,
        "The hub has no models yet. Add one with: tunery import FOLDER NAME\n",
    )
    assert json.loads(tunery("models", "--json")[1]) == []


def test_damage_ends_with_70_and_names_the_file(tunery, model, tmp_path):
    tunery("import", str(model), "tiny")
    blob = spoil_a_blob(tmp_path / "hub")
    code, out, err = tunery("verify", "tiny")
    assert (code, out) == (ExitCode.INTERNAL, "")
    assert f"{blob}: " in err
    assert "fix: publish or import the same files again" in err
    code, out, _ = tunery("verify", "tiny@v1", "--json")
    document = json.loads(out)
    assert (code, document["ok"], len(document["problems"])) == (ExitCode.INTERNAL, False, 1)
    tunery("import", str(model), "tiny")
    assert tunery("verify", "tiny")[0] == ExitCode.OK


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("verify", "org/tyni"), "did you mean 'org/tiny'?"),
        (("verify", "org/tiny@prodction"), "did you mean 'production'?"),
        (("promote", "org/tiny@v2", "candidate"), "no version, alias or revision 'v2'"),
        (("promote", "org/tiny", "candidate"), "write org/tiny@VERSION"),
        (("promote", "org/tiny@v1", "Live!"), "'Live!' is not an alias."),
        (("verify", "../tiny"), "is not a model reference"),
        (("import", "no-such-folder", "tiny"), "There is no such folder."),
        (("import", "{model}", "tiny@v1"), "names a version"),
        (("import", "{empty}", "tiny"), "has no files"),
    ],
)
def test_mistakes_end_with_64_and_a_fix(tunery, model, tmp_path, arguments, says):
    (tmp_path / "empty").mkdir()
    tunery("import", str(model), "org/tiny", "--alias", "production")
    code, out, err = tunery(*(each.format(model=model, empty=tmp_path / "empty") for each in arguments))
    assert (code, out) == (ExitCode.INPUT, "")
    assert says in err
    assert "fix: " in err
    assert "Traceback" not in err


def test_pickle_needs_a_flag(tunery, model):
    (model / "pytorch_model.bin").write_bytes(b"x")
    code, _, err = tunery("import", str(model), "tiny")
    assert code == ExitCode.INPUT
    assert "--allow-pickle" in err
    assert tunery("import", str(model), "tiny", "--allow-pickle")[0] == ExitCode.OK


def test_the_verbs_import_nothing_heavy(tunery, model, monkeypatch):
    for heavy in ("torch", "transformers", "datasets", "llamafactory", "httpx"):
        monkeypatch.setitem(sys.modules, heavy, None)  # importing it raises ImportError
    assert tunery("import", str(model), "tiny")[0] == ExitCode.OK
    assert tunery("models")[0] == ExitCode.OK
    assert tunery("verify", "tiny")[0] == ExitCode.OK
    assert tunery("promote", "tiny@v1", "production")[0] == ExitCode.OK
