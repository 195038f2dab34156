from __future__ import annotations

import json
import struct
import subprocess
import sys

import pytest
from artifactory.server import FakeArtifactory
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from workloads.cli.fetching import run_plain
from workloads.cli.main import main
from workloads.hub import open_hub
from workloads.runtime import POD_SECRETS
from workloads.storage import manifest

FILES = {"config.json": b'{"model_type": "llama"}', "model.safetensors": b"w" * 1000, "modeling_x.py": b"pass"}


@pytest.fixture
def server(monkeypatch):
    with FakeArtifactory() as server:
        monkeypatch.setenv("TUNERY_ARTIFACTORY_URL", server.url)
        monkeypatch.setenv("TUNERY_ARTIFACTORY_MODELS", "huggingface")
        monkeypatch.setenv("TUNERY_ARTIFACTORY_PUBLISHED", "published")
        monkeypatch.setenv("TUNERY_ARTIFACTORY_TOKEN", server.token("read annotate deploy delete"))
        yield server


def tunery(capsys, *arguments):
    with pytest.raises(SystemExit) as stop:
        main(list(arguments))
    out, err = capsys.readouterr()
    return stop.value.code, out, err


def test_fetch_tells_where_the_model_is_and_what_of_it_is_code(server, capsys, tmp_path):
    commit = server.put_model("huggingface", "acme/base", FILES)
    code, out, _ = tunery(capsys, "fetch", "acme/base@main", "--json")
    found = json.loads(out)
    assert (code, found["revision"], found["name"]) == (0, commit, "acme/base")
    assert list(found["code"]) == ["modeling_x.py"]
    assert manifest.damage(tmp_path / "cache" / "models" / commit) == []
    code, out, err = tunery(capsys, "fetch", f"acme/base@{commit}", "--to", str(tmp_path / "here"))
    assert code == 0
    assert out.strip() == str(tmp_path / "here")
    assert "modeling_x.py is code" in err
    assert manifest.read(tmp_path / "here").revision == commit


def test_what_is_imported_is_verified_and_promoted(server, capsys, tmp_path):
    header = json.dumps({"weight": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    files = {"config.json": FILES["config.json"], "tokenizer.json": b"{}"}
    files["model.safetensors"] = struct.pack("<Q", len(header)) + header + bytes(8)
    (tmp_path / "model").mkdir()
    for name, content in files.items():
        (tmp_path / "model" / name).write_bytes(content)
    assert tunery(capsys, "import", str(tmp_path / "model"), "team/tiny", "--alias", "candidate")[0] == 0
    code, out, err = tunery(capsys, "verify", "team/tiny@candidate")
    assert code == 0
    assert "is whole" in out
    assert "is not signed" in err
    assert tunery(capsys, "promote", "team/tiny@v1", "production")[0] == 0
    found = json.loads(tunery(capsys, "models", "--json")[1])
    assert [(each["name"], each["aliases"]) for each in found] == [("team/tiny", ["candidate", "production"])]
    (config,) = [path for path in server.files("published") if path.endswith("v1/config.json")]
    server.put_file("published", config, b"x" * len(files["config.json"]))
    code, _, err = tunery(capsys, "verify", "team/tiny")
    assert code == 70
    assert "config.json of team/tiny@v1 is damaged" in err


def test_hub_check_tries_and_explains(server, capsys, monkeypatch):
    server.put_model("huggingface", "acme/base", FILES)
    code, out, _ = tunery(capsys, "hub", "check", "acme/base")
    assert code == 0
    assert "works as a Hugging Face Hub" in out
    monkeypatch.setenv("TUNERY_ARTIFACTORY_TOKEN", "wrong")
    code, out, err = tunery(capsys, "hub", "check", "acme/base")
    assert code == 69
    assert "401 Unauthorized" in err
    assert "wrong" not in (out + err).replace("is missing, wrong or expired", "")


def test_hub_env_prints_no_token(capsys, repository, monkeypatch):
    monkeypatch.setenv("TUNERY_PLATFORM", str(repository / "configs" / "platform"))
    monkeypatch.setenv("TUNERY_ARTIFACTORY_TOKEN", "secret-token")
    code, out, _ = tunery(capsys, "hub", "env", "dev")
    assert code == 0
    assert "export HF_ENDPOINT=https://artifactory.example.com/artifactory/api/huggingfaceml/huggingface" in out
    assert "export HF_HUB_DOWNLOAD_TIMEOUT=86400" in out
    assert "TOKEN" not in out


def test_a_pod_gets_its_token_from_the_mounted_secret_only(tmp_path):
    from workloads.stages.pod import huggingface_token

    (tmp_path / "artifactory-token").write_text("mounted\n")
    environ = {"HF_ENDPOINT": "https://x/api/huggingfaceml/m", "TUNERY_SECRETS": str(tmp_path)}
    assert huggingface_token(environ) == {"HF_TOKEN": "mounted"}
    assert huggingface_token({"TUNERY_SECRETS": str(tmp_path)}) == {}
    assert huggingface_token({"HF_ENDPOINT": "x", "TUNERY_SECRETS": POD_SECRETS}) == {}


def test_a_data_set_is_fetched_by_its_own_name(server, capsys, tmp_path):
    commit = server.put_model("huggingface", "acme/base", {"train.jsonl": b"{}\n"}, kind="datasets")
    code, out, _ = tunery(capsys, "fetch", "--dataset", "acme/base", "--json")
    assert (code, json.loads(out)["files"]) == (0, ["train.jsonl"])
    assert json.loads(out)["folder"] == str(tmp_path / "cache" / "datasets" / commit)
    assert tunery(capsys, "fetch", "acme/base")[0] == 64  # no model is called so


def test_a_data_set_goes_into_a_hub_that_is_a_folder(capsys, tmp_path):
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows" / "train.jsonl").write_text("{}\n")
    code, out, _ = tunery(capsys, "import", "--dataset", str(tmp_path / "rows"), "acme/rows", "--json")
    assert (code, json.loads(out)["version"]) == (0, "v1")
    assert tunery(capsys, "fetch", "--dataset", "acme/rows@v1")[0] == 0


@pytest.mark.parametrize("arguments", [["a/b", "--to", "x"], ["--help"], [], ["a", "b"], ["a", "--unknown"]])
def test_command_lines_that_need_the_parser_are_left_to_it(arguments):
    assert run_plain(arguments) is False


def test_what_is_in_the_cache_is_found_without_what_takes_long_to_import(server, capsys):
    server.put_model("huggingface", "acme/base", FILES)
    tunery(capsys, "fetch", "acme/base")
    code = """
import sys
from workloads.cli.main import main
try:
    main(["fetch", "acme/base"])
finally:
    print(sorted({"typer", "rich", "pydantic", "tenacity", "httpx"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_an_environment_says_whose_signature_counts(server, capsys, monkeypatch, repository, tmp_path):
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    pem = key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()
    known = json.loads((repository / "configs" / "platform" / "dev.json").read_text())
    known["artifactory"] |= {"url": server.url, "models": "huggingface", "published": "published"}
    known["artifactory"]["signing_keys"] = pem
    (tmp_path / "platform").mkdir()
    (tmp_path / "platform" / "dev.json").write_text(json.dumps(known))
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_bytes(b"{}")
    open_hub().publish(tmp_path / "model", "team/bot", lineage={})
    monkeypatch.setenv("TUNERY_PLATFORM", str(tmp_path / "platform"))
    monkeypatch.delenv("TUNERY_HUB")
    for name in ("URL", "MODELS", "PUBLISHED"):
        monkeypatch.delenv(f"TUNERY_ARTIFACTORY_{name}")
    monkeypatch.setenv("TUNERY_SIGNING_PUBLIC_KEY", "")  # so that what the command sets is gone after the test
    code, _, err = tunery(capsys, "verify", "team/bot", "--env", "dev")
    assert code == 70
    assert "is not signed" in err
