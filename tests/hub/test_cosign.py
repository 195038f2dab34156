"""What is published is checked by cosign itself, offline, with nothing but the signer's public key."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

VENV = Path(__file__).parents[2] / os.environ.get("TUNERY_VENV", ".venv")
LINEAGE = {
    "run": "r-1",
    "seed": 1,
    "base": {"model": "b", "revision": "ef" * 20, "reference": "b@v1"},
    "datasets": [{"name": "rows", "source": "acme/rows", "revision": "ab" * 20, "sha256": "12" * 32}],
}


@pytest.fixture(scope="session")
def cosign() -> str:
    """The program of the path, or the one that scripts/cosign has built."""
    found = shutil.which("cosign", path=f"{VENV / 'cosign'}{os.pathsep}{os.environ.get('PATH', '')}")
    if found is None:
        if os.environ.get("CI") == "true":
            pytest.fail("cosign is not installed")
        pytest.skip("run scripts/cosign, which needs Go")
    return found


def private_key(kind):
    return ec.generate_private_key(ec.SECP256R1()) if kind == "ecdsa" else ed25519.Ed25519PrivateKey.generate()


def written(key, folder, name):
    """The files of a key pair, private and public."""
    private, public = folder / f"{name}.pem", folder / f"{name}.pub"
    pem, encrypted = serialization.Encoding.PEM, serialization.NoEncryption()
    private.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, encrypted))
    public.write_bytes(key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo))
    return private, public


@pytest.mark.parametrize("kind", ["ecdsa", "ed25519"])
def test_cosign_accepts_every_file_of_the_version_and_nothing_else(
    cosign, kind, artifactory, open_artifactory, make_folder, tmp_path
):
    private, public = written(private_key(kind), tmp_path, "ours")
    _, stranger = written(private_key(kind), tmp_path, "stranger")
    files = {"config.json": b"{}", "model.safetensors": b"weights"}
    hub = open_artifactory(artifactory, TUNERY_SIGNING_KEY=str(private), TUNERY_SIGNING_PUBLIC_KEY=str(public))
    hub.publish(make_folder(files), "team/bot", lineage=LINEAGE)
    stored = artifactory.files("published")
    bundle = tmp_path / "provenance.sigstore.json"
    bundle.write_bytes(stored["team/bot/v1/provenance.sigstore.json"])

    def verified(content, key):
        blob = tmp_path / "blob"
        blob.write_bytes(content)
        nowhere = {"HTTPS_PROXY": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9", "HOME": str(tmp_path)}
        command = [cosign, "verify-blob-attestation", "--key", key, "--bundle", bundle, "--type", "slsaprovenance1"]
        done = subprocess.run(
            [*command, "--insecure-ignore-tlog", blob], env=nowhere, capture_output=True, text=True, check=False
        )
        assert (done.returncode == 0) == ("Verified OK" in done.stderr)
        return done.returncode == 0

    assert all(verified(stored[f"team/bot/v1/{name}"], public) for name in files)
    assert not verified(b"other", public)
    assert not verified(b"{}", stranger)
