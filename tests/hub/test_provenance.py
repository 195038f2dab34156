from __future__ import annotations

import base64
import json
import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from workloads.errors import InputError, TuneryError
from workloads.hub.interface import ModelReference
from workloads.hub.provenance import Checker, Signer, statement, states
from workloads.storage.manifest import FileEntry, Manifest

CONTENT = Manifest((FileEntry("config.json", 2, "ab" * 32), FileEntry("w.safetensors", 9, "cd" * 32)))
LINEAGE = {"run": "r-1", "base": {"model": "b", "revision": "ef" * 20, "reference": "b@v1"}, "seed": 1}


def pem_of(key):
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())


def pem_pair(folder, key, name="key"):
    private = folder / f"{name}.pem"
    public = folder / f"{name}.pub"
    private.write_bytes(pem_of(key))
    kind = serialization.PublicFormat.SubjectPublicKeyInfo
    public.write_bytes(key.public_key().public_bytes(serialization.Encoding.PEM, kind))
    return {"TUNERY_SIGNING_KEY": str(private), "TUNERY_SIGNING_PUBLIC_KEY": str(public)}


@pytest.fixture(params=["ecdsa", "ed25519"])
def keys(request, tmp_path):
    key = ec.generate_private_key(ec.SECP256R1()) if request.param == "ecdsa" else ed25519.Ed25519PrivateKey.generate()
    return pem_pair(tmp_path, key)


def test_what_is_signed_is_what_is_checked(keys):
    payload = json.dumps(statement("bot@v1", CONTENT, LINEAGE, "12" * 32)).encode()
    bundle = Signer.from_environment(keys).bundle(payload)
    checker = Checker.from_environment(keys)
    assert checker.payload(bundle) == payload
    assert states(payload, CONTENT, "12" * 32)


def test_another_file_another_lineage_and_another_statement_are_noticed():
    payload = json.dumps(statement("bot@v1", CONTENT, LINEAGE, "12" * 32)).encode()
    other = Manifest((*CONTENT.files, FileEntry("more", 1, "00" * 32)))
    assert not states(payload, other, "12" * 32)
    assert not states(payload, CONTENT, "34" * 32)
    assert not states(b"[]", CONTENT, "12" * 32)
    assert not states(b"no json", CONTENT, "12" * 32)


def test_a_changed_envelope_is_nobodys(keys):
    envelope = Signer.from_environment(keys).bundle(b'{"a": 1}')["dsseEnvelope"]
    checker = Checker.from_environment(keys)
    other = base64.b64encode(b'{"a": 2}').decode()
    for broken in (
        {**envelope, "payload": other},
        {**envelope, "payloadType": "text/plain"},
        {**envelope, "signatures": []},
        {**envelope, "payload": "%%%"},
        {},
        None,
    ):
        assert checker.payload({"dsseEnvelope": broken}) is None
    assert checker.payload(envelope) is None


def test_the_statement_is_slsa_and_names_every_file_and_what_it_was_made_of():
    said = statement("bot@v1", CONTENT, LINEAGE, "12" * 32)
    assert said["_type"] == "https://in-toto.io/Statement/v1"
    assert said["predicateType"] == "https://slsa.dev/provenance/v1"
    assert {each["name"]: each["digest"]["sha256"] for each in said["subject"]} == {
        entry.path: entry.sha256 for entry in CONTENT.files
    }
    materials = said["predicate"]["buildDefinition"]["resolvedDependencies"]
    assert {"uri": "model:b@v1", "digest": {"gitCommit": "ef" * 20}} in materials


def test_openssl_agrees_with_an_ecdsa_signature(tmp_path):
    if shutil.which("openssl") is None:
        pytest.skip("install openssl")
    keys = pem_pair(tmp_path, ec.generate_private_key(ec.SECP256R1()))
    envelope = Signer.from_environment(keys).bundle(b"{}")["dsseEnvelope"]
    kind = envelope["payloadType"]
    (tmp_path / "signed").write_bytes(b"DSSEv1 %d %s 2 {}" % (len(kind), kind.encode()))
    (tmp_path / "signature").write_bytes(base64.b64decode(envelope["signatures"][0]["sig"]))
    command = ["openssl", "dgst", "-sha256", "-verify", keys["TUNERY_SIGNING_PUBLIC_KEY"], "-signature"]
    found = subprocess.run([*command, tmp_path / "signature", tmp_path / "signed"], capture_output=True, check=False)
    assert found.returncode == 0, found.stderr


def test_a_key_that_cannot_sign_is_refused(tmp_path):
    keys = pem_pair(tmp_path, ec.generate_private_key(ec.SECP384R1()))
    with pytest.raises(InputError, match="P-256"):
        Signer.from_environment(keys)
    (tmp_path / "key.pem").write_text("-----BEGIN ENCRYPTED SIGSTORE " + "PRIVATE KEY-----\n")
    with pytest.raises(InputError, match="needs no password"):
        Signer.from_environment(keys)
    with pytest.raises(InputError, match="public key in PEM"):
        Checker.from_environment({"TUNERY_SIGNING_PUBLIC_KEY": str(tmp_path / "key.pem")})
    assert Signer.from_environment({}) is None
    (tmp_path / "signing-key").write_bytes(pem_of(ec.generate_private_key(ec.SECP256R1())))
    assert Signer.from_environment({"TUNERY_SECRETS": str(tmp_path)}) is not None
    assert Checker.from_environment({}) is None


def test_a_signed_version_verifies_and_a_strangers_does_not(artifactory, open_artifactory, make_folder, tmp_path):
    ours = pem_pair(tmp_path, ec.generate_private_key(ec.SECP256R1()))
    theirs = pem_pair(tmp_path, ec.generate_private_key(ec.SECP256R1()), "stranger")
    folder = make_folder({"config.json": b"{}"})
    hub = open_artifactory(artifactory, **ours)
    signed = hub.publish(folder, "bot", lineage=LINEAGE)
    assert hub.verify(signed) == []
    (problem,) = open_artifactory(artifactory, **theirs).verify(signed)
    assert "not by the owner of a key" in problem.message
    unsigned = open_artifactory(artifactory).publish(make_folder({"config.json": b"[]"}), "bot", lineage=LINEAGE)
    (problem,) = hub.verify(unsigned)
    assert "is not signed" in problem.message
    assert not problem.is_warning
    (note,) = open_artifactory(artifactory).verify(signed)
    assert note.is_warning
    # a signature of one version beside another one
    path = "bot/v1/provenance.sigstore.json"
    content = json.loads(artifactory.files("published")["bot/v1/tunery-manifest.json"])
    assert any(each["path"] == "provenance.sigstore.json" for each in content["documents"])
    artifactory.put_file("published", path, b"{}")
    assert any("provenance.sigstore.json" in each.message for each in hub.verify(signed))


def test_two_keys_are_trusted_while_one_takes_the_place_of_the_other(keys, tmp_path):
    other = pem_pair(tmp_path, ec.generate_private_key(ec.SECP256R1()), "next")
    both = "".join(Path(each["TUNERY_SIGNING_PUBLIC_KEY"]).read_text() for each in (keys, other))
    checker = Checker.from_environment({"TUNERY_SIGNING_PUBLIC_KEY": both})
    assert all(checker.payload(Signer.from_environment(each).bundle(b"{}")) == b"{}" for each in (keys, other))
    assert Checker.from_environment(keys).payload(Signer.from_environment(other).bundle(b"{}")) is None


def test_nothing_is_published_that_nobody_would_trust(artifactory, open_artifactory, make_folder, tmp_path):
    ours = pem_pair(tmp_path, ec.generate_private_key(ec.SECP256R1()))
    theirs = pem_pair(tmp_path, ec.generate_private_key(ec.SECP256R1()), "stranger")
    folder = make_folder({"config.json": b"{}"})
    public = {"TUNERY_SIGNING_PUBLIC_KEY": ours["TUNERY_SIGNING_PUBLIC_KEY"]}
    with pytest.raises(InputError, match="no key to sign with"):
        open_artifactory(artifactory, **public).publish(folder, "bot", lineage={})
    stranger = {**public, "TUNERY_SIGNING_KEY": theirs["TUNERY_SIGNING_KEY"]}
    with pytest.raises(InputError, match="Nobody would trust"):
        open_artifactory(artifactory, **stranger).publish(folder, "bot", lineage={})
    (tmp_path / "signing-key").write_text("unused\n")
    unused = open_artifactory(artifactory, TUNERY_SECRETS=str(tmp_path))
    assert unused.publish(folder, "bot", lineage={}).version == "v1"
    assert "bot/v1/provenance.sigstore.json" not in artifactory.files("published")


def test_where_signers_are_known_nothing_else_is_fetched(artifactory, open_artifactory, make_folder, tmp_path):
    ours = pem_pair(tmp_path, ec.generate_private_key(ec.SECP256R1()))
    theirs = pem_pair(tmp_path, ec.generate_private_key(ec.SECP256R1()), "stranger")
    hub, stranger = open_artifactory(artifactory, **ours), open_artifactory(artifactory, **theirs)
    signed = hub.publish(make_folder({"config.json": b"{}"}), "bot", lineage={})
    assert hub.fetch(signed, tmp_path / "signed").digest == signed.digest
    with pytest.raises(TuneryError, match="not by the owner of a key"):
        stranger.fetch(signed, tmp_path / "refused")
    unsigned = open_artifactory(artifactory).publish(make_folder({"config.json": b"[]"}), "bot", lineage={})
    with pytest.raises(TuneryError, match="is not signed"):
        hub.fetch(unsigned, tmp_path / "refused")
    assert not (tmp_path / "refused").exists()
    artifactory.put_model("huggingface", "acme/base", {"config.json": b"{}"})  # base models are nobody's here
    assert hub.fetch(hub.resolve(ModelReference.parse("acme/base")), tmp_path / "base").files
