"""Where a published model came from, as an in-toto statement that can be signed.

The statement names every file by SHA-256 and carries a SLSA provenance (in-toto.io/Statement/v1,
slsa.dev/provenance/v1). It is signed as a DSSE envelope (github.com/secure-systems-lab/dsse) in a Sigstore bundle
(github.com/sigstore/protobuf-specs, bundle v0.3), which cosign checks too (docs/models.md says how).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workloads.errors import InputError
from workloads.runtime import ENV_SIGNING_KEY, ENV_SIGNING_PUBLIC_KEY, SIGNING_SECRET, signing_key
from workloads.storage.manifest import Manifest

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

    PrivateKey = EllipticCurvePrivateKey | Ed25519PrivateKey
    PublicKey = EllipticCurvePublicKey | Ed25519PublicKey

PAYLOAD_TYPE = "application/vnd.in-toto+json"
_BUNDLE_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
_PUBLIC_PEM = re.compile(rb"-----BEGIN PUBLIC KEY-----.+?-----END PUBLIC KEY-----", re.DOTALL)
_UNUSED = b"unused"
"""What operations put into a secret that they do not use (docs/operations.md)."""
_STATEMENT = "https://in-toto.io/Statement/v1"
_PREDICATE = "https://slsa.dev/provenance/v1"
_BUILD = "https://tunery.dev/fine-tuning/v1"
_MAKE_A_KEY = (
    "make a pair with `openssl ecparam -name prime256v1 -genkey -noout | openssl pkcs8 -topk8 -nocrypt -out key.pem` "
    "and `openssl ec -in key.pem -pubout -out key.pub`"
)


def statement(reference: str, content: Manifest, lineage: Mapping[str, Any], lineage_digest: str) -> dict[str, Any]:
    """The in-toto statement of a version.

    Args:
        reference: ``NAME@VERSION``.
        lineage_digest: SHA-256 (hex) of the lineage, which the statement thereby holds too.
    """
    base = lineage.get("base") or {}
    materials = [
        {"uri": f"dataset:{each.get('source') or each['name']}", "digest": _digests(each)}
        for each in _datasets(lineage)
    ]
    if base.get("revision"):
        digest = {"gitCommit" if base.get("reference") else "tunery": base["revision"]}
        materials.insert(0, {"uri": f"model:{base.get('reference') or base.get('model')}", "digest": digest})
    if lineage.get("git_commit"):
        materials.append({"uri": "git:config", "digest": {"gitCommit": lineage["git_commit"]}})
    return {
        "_type": _STATEMENT,
        "subject": [{"name": entry.path, "digest": {"sha256": entry.sha256}} for entry in content.files],
        "predicateType": _PREDICATE,
        "predicate": {
            "buildDefinition": {
                "buildType": _BUILD,
                "externalParameters": {
                    "model": reference,
                    "training_config": lineage.get("training_config"),
                    "seed": lineage.get("seed"),
                },
                "internalParameters": {"versions": lineage.get("versions")},
                "resolvedDependencies": materials,
            },
            "runDetails": {
                "builder": {"id": "https://tunery.dev", "version": lineage.get("versions") or {}},
                "metadata": {"invocationId": lineage.get("run"), "startedOn": lineage.get("created")},
                "byproducts": [{"name": "lineage", "digest": {"sha256": lineage_digest}}],
            },
        },
    }


def _datasets(lineage: Mapping[str, Any]) -> list[dict[str, str]]:
    return [each for each in lineage.get("datasets") or [] if each.get("sha256")]


def _digests(dataset: Mapping[str, str]) -> dict[str, str]:
    """The SHA-256 of a data set, and where it has one its revision in the hub."""
    revision = {"gitCommit": dataset["revision"]} if dataset.get("revision") else {}
    return {"sha256": dataset["sha256"], **revision}


@dataclass(frozen=True, slots=True)
class Signer:
    """Signs with a private key: ECDSA on P-256, as cosign does, or Ed25519."""

    key: PrivateKey

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> Signer | None:
        """The signer with the key of :func:`workloads.runtime.signing_key`; None when there is none.

        Raises:
            InputError: the file holds no such key.
        """
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        path = signing_key(environ)
        if path is None:
            return None
        try:
            content = path.read_bytes()
            if content.strip() == _UNUSED:
                return None
            key = load_pem_private_key(content, password=None)
        except (OSError, ValueError, TypeError) as error:
            raise _no_key(path, "private key in PEM that needs no password") from error
        if not _usable(key):
            raise _no_key(path, "key for ECDSA on P-256 or for Ed25519")
        return cls(key)  # type: ignore[arg-type]

    def bundle(self, payload: bytes) -> dict[str, Any]:
        """The Sigstore bundle of a statement."""
        from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePrivateKey
        from cryptography.hazmat.primitives.hashes import SHA256

        signed = _pre_authentication(PAYLOAD_TYPE, payload)
        if isinstance(self.key, EllipticCurvePrivateKey):
            signature = self.key.sign(signed, ECDSA(SHA256()))
        else:
            signature = self.key.sign(signed)
        return {
            "mediaType": _BUNDLE_TYPE,
            "verificationMaterial": {"publicKey": {"hint": key_id(self.key.public_key())}},
            "dsseEnvelope": {
                "payloadType": PAYLOAD_TYPE,
                "payload": base64.b64encode(payload).decode(),
                # Without a keyid: cosign passes over signatures whose keyid is not in a form of its own.
                "signatures": [{"sig": base64.b64encode(signature).decode()}],
            },
        }


@dataclass(frozen=True, slots=True)
class Checker:
    """Checks signatures with public keys, any of which may be the signer's: an old key and the one after it."""

    keys: tuple[PublicKey, ...]

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> Checker | None:
        """The checker with the keys in ``TUNERY_SIGNING_PUBLIC_KEY``, which holds PEM or names a file; None without.

        Raises:
            InputError: it holds no such keys.
        """
        from cryptography.hazmat.primitives.serialization import load_pem_public_key

        given = environ.get(ENV_SIGNING_PUBLIC_KEY, "").strip()
        if not given:
            return None
        place = ENV_SIGNING_PUBLIC_KEY if given.startswith("-----") else Path(given)
        try:
            content = place.read_bytes() if isinstance(place, Path) else given.encode()
            keys = [load_pem_public_key(each) for each in _PUBLIC_PEM.findall(content)]
        except (OSError, ValueError) as error:
            raise _no_key(place, "public key in PEM") from error
        if not keys:
            raise _no_key(place, "public key in PEM")
        if not all(_usable(key) for key in keys):
            raise _no_key(place, "key for ECDSA on P-256 or for Ed25519")
        return cls(tuple(keys))  # type: ignore[arg-type]

    def payload(self, bundle: Any) -> bytes | None:
        """What the owner of one of the keys signed; None when no signature in the bundle is theirs."""
        try:
            envelope = bundle["dsseEnvelope"]
            kind, payload = envelope["payloadType"], base64.b64decode(envelope["payload"], validate=True)
            signatures = [base64.b64decode(each["sig"], validate=True) for each in envelope["signatures"]]
        except (KeyError, TypeError, binascii.Error, ValueError):
            return None
        if kind != PAYLOAD_TYPE:
            return None
        signed = _pre_authentication(kind, payload)
        theirs = any(_is_by(key, signature, signed) for key in self.keys for signature in signatures)
        return payload if theirs else None


def trusted_signer(environ: Mapping[str, str] = os.environ) -> Signer | None:
    """The signer for what is published here; None where nobody signs.

    Raises:
        InputError: signers are known here, and there is no key, or a stranger's: what it signed would be refused.
    """
    signer, checker = Signer.from_environment(environ), Checker.from_environment(environ)
    if checker is None:
        return signer
    if signer is None:
        raise InputError.of(
            "Models are signed here, and there is no key to sign with.",
            f"name the private key in {ENV_SIGNING_KEY}; on an environment put it into the secret {SIGNING_SECRET}",
        )
    if checker.payload(signer.bundle(b"")) is None:
        raise InputError.of(
            "Nobody would trust what this key signs: its public key is not among those that are known here.",
            "sign with the right key, or add the public key (an environment's are in artifactory.signing_keys)",
            file=signing_key(environ),
        )
    return signer


def _is_by(key: PublicKey, signature: bytes, signed: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
    from cryptography.hazmat.primitives.hashes import SHA256

    try:
        if isinstance(key, EllipticCurvePublicKey):
            key.verify(signature, signed, ECDSA(SHA256()))
        else:
            key.verify(signature, signed)
    except InvalidSignature:
        return False
    return True


def states(payload: bytes, content: Manifest, lineage_digest: str) -> bool:
    """Whether a statement is of exactly these files and this lineage."""
    try:
        said = json.loads(payload)
        subjects = {(each["name"], each["digest"]["sha256"]) for each in said["subject"]}
        lineages = [each["digest"]["sha256"] for each in said["predicate"]["runDetails"]["byproducts"]]
        kinds = (said["_type"], said["predicateType"])
    except (ValueError, KeyError, TypeError):
        return False
    files = {(entry.path, entry.sha256) for entry in content.files}
    return kinds == (_STATEMENT, _PREDICATE) and subjects == files and lineages == [lineage_digest]


def key_id(key: PublicKey) -> str:
    """SHA-256 (hex) of a public key in DER, which names it."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def _pre_authentication(kind: str, payload: bytes) -> bytes:
    """What DSSE signs: kind and payload, each behind its length, so that neither can be taken for the other."""
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind.encode(), len(payload), payload)


def _usable(key: object) -> bool:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519

    if isinstance(key, ec.EllipticCurvePrivateKey | ec.EllipticCurvePublicKey):
        return isinstance(key.curve, ec.SECP256R1)
    return isinstance(key, ed25519.Ed25519PrivateKey | ed25519.Ed25519PublicKey)


def _no_key(place: Path | str, wanted: str) -> InputError:
    return InputError.of(f"There is no {wanted} in it.", _MAKE_A_KEY, file=place)
