"""A real registry (CNCF Distribution, as Debian packages it) that wants a token for everything, and who gives it."""

from __future__ import annotations

import datetime
import json
import os
import shutil
import socket
import subprocess
import threading
import time
from base64 import b64decode, b64encode, urlsafe_b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

INSTALL = "apt-get install docker-registry"
USER, PASSWORD = "ada", "opens-sesame"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"


@dataclass
class TokenService:
    """Gives a token for pulling to whoever knows the password, and for pushing to the test."""

    issuer: str
    key: rsa.RSAPrivateKey
    certificate: x509.Certificate
    url: str = ""
    asked: list[dict[str, str]] = field(default_factory=list)

    def token(self, repository: str, *actions: str) -> str:
        """A JWT that Distribution believes."""
        now = int(time.time())
        access = [{"type": "repository", "name": repository, "actions": list(actions)}]
        claims = {"iss": self.issuer, "aud": "registry", "sub": USER, "nbf": now - 9, "iat": now, "exp": now + 60}
        chain = [b64encode(self.certificate.public_bytes(Encoding.DER)).decode()]
        parts = ({"typ": "JWT", "alg": "RS256", "x5c": chain}, {**claims, "jti": str(now), "access": access})
        signed = ".".join(_base64(json.dumps(part).encode()) for part in parts)
        return f"{signed}.{_base64(self.key.sign(signed.encode(), padding.PKCS1v15(), SHA256()))}"


@dataclass(frozen=True)
class RealRegistry:
    """``host`` is HOST:PORT as references begin with."""

    host: str
    tokens: TokenService

    def push(self, repository: str) -> str:
        """Puts a smallest image into a repository; its digest."""
        login = {"Authorization": f"Bearer {self.tokens.token(repository, 'pull', 'push')}"}
        base = f"http://{self.host}/v2/{repository}"
        with httpx.Client(headers=login) as client:
            config = self._blob(client, base, b"{}")
            layer = self._blob(client, base, repository.encode())
            manifest = {
                "schemaVersion": 2,
                "mediaType": _MANIFEST,
                "config": {"mediaType": "application/vnd.oci.image.config.v1+json", **config},
                "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", **layer}],
            }
            content = json.dumps(manifest).encode()
            put = client.put(f"{base}/manifests/latest", content=content, headers={"Content-Type": _MANIFEST})
            assert put.status_code == 201, put.text
        return str(put.headers["Docker-Content-Digest"])

    def _blob(self, client: httpx.Client, base: str, content: bytes) -> dict[str, Any]:
        digest = f"sha256:{sha256(content).hexdigest()}"
        where = client.post(f"{base}/blobs/uploads/").headers["Location"]
        put = client.put(where, content=content, params={**parse_qs_of(where), "digest": digest})
        assert put.status_code == 201, put.text
        return {"digest": digest, "size": len(content)}


def parse_qs_of(url: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


def _base64(content: bytes) -> str:
    return urlsafe_b64encode(content).rstrip(b"=").decode()


def _certified() -> tuple[rsa.RSAPrivateKey, x509.Certificate]:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tokens")])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now - datetime.timedelta(hours=1))
    return key, builder.not_valid_after(now + datetime.timedelta(hours=1)).sign(key, SHA256())


class _Tokens(BaseHTTPRequestHandler):
    service: TokenService

    def do_GET(self) -> None:
        query = parse_qs_of(self.path)
        self.service.asked.append(query)
        given = self.headers.get("Authorization", "").removeprefix("Basic ")
        known = b64decode(given).decode() == f"{USER}:{PASSWORD}"
        kind, repository, actions = query["scope"].split(":")
        status = 401 if given and not known else 200
        token = self.service.token(repository, *(actions.split(",") if known and kind == "repository" else ()))
        body = json.dumps({"token": token} if status == 200 else {"errors": [{"code": "UNAUTHORIZED"}]}).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Quiet."""


@contextmanager
def running_registry(folder: Path) -> Iterator[RealRegistry]:
    """Starts both; skips the test where no registry is installed, and fails it in CI."""
    program = shutil.which("docker-registry") or shutil.which("registry")
    if program is None:
        message = f"there is no docker-registry; install it: {INSTALL}"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    service = TokenService("tests", *_certified())
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Tokens", (_Tokens,), {"service": service}))
    service.url = f"http://127.0.0.1:{server.server_port}/token"
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    (folder / "root.pem").write_bytes(service.certificate.public_bytes(Encoding.PEM))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{probe.getsockname()[1]}"
    auth = {"realm": service.url, "service": "registry", "issuer": "tests", "rootcertbundle": str(folder / "root.pem")}
    config = {
        "version": 0.1,
        "log": {"level": "error"},
        "storage": {"filesystem": {"rootdirectory": str(folder / "data")}},
        "http": {"addr": host},
        "auth": {"token": auth},
    }
    (folder / "config.yml").write_text(yaml.safe_dump(config))
    process = subprocess.Popen(
        [program, "serve", str(folder / "config.yml")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 20
        while True:
            try:
                assert httpx.get(f"http://{host}/v2/", timeout=1).status_code == 401
                break
            except httpx.TransportError:
                assert process.poll() is None, "the registry ended"
                assert time.monotonic() < deadline, "the registry does not answer"
                time.sleep(0.02)
        yield RealRegistry(host, service)
    finally:
        process.kill()
        process.wait()
        server.shutdown()
        server.server_close()
