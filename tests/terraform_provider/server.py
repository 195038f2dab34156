"""A Terraform plugin's process: the handshake of HashiCorp's go-plugin on standard output, then gRPC over mutual TLS.

Terraform starts the plugin with a magic cookie and its own certificate in the environment, reads one line,
``core version|protocol version|network|address|grpc|server certificate``, and connects (go-plugin's
docs/guide-plugin-write-non-go.md and its AutoMTLS option).
"""

from __future__ import annotations

import base64
import datetime
import os
import sys
import tempfile
import threading
from concurrent import futures
from typing import Any

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from terraform_provider.protocol import METHODS, SERVICE, message

_COOKIE = ("TF_PLUGIN_MAGIC_COOKIE", "d602bf8f470bc67ca7faa0386276bbdd4330efaf76d1a219cb4d6991ca9872b2")
"""Not a secret: it tells a person who starts the file by hand from Terraform."""
_CLIENT_CERTIFICATE = "PLUGIN_CLIENT_CERT"
_EXIT_USAGE = 64


def _certificate() -> tuple[bytes, bytes, bytes]:
    """A self-signed certificate for ``localhost``, for this process only: key and certificate as PEM, and as DER."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return (
        private,
        certificate.public_bytes(serialization.Encoding.PEM),
        certificate.public_bytes(serialization.Encoding.DER),
    )


def _handler(call: Any, request: str, response: str) -> grpc.RpcMethodHandler:
    return grpc.unary_unary_rpc_method_handler(
        lambda received, _context: call(received),
        request_deserializer=message[request].FromString,
        response_serializer=message[response].SerializeToString,
    )


def serve(provider: object) -> int:
    """Serves until Terraform ends the plugin; the exit code. ``provider`` has the methods of ``METHODS``."""
    if os.environ.get(_COOKIE[0]) != _COOKIE[1]:
        print("This is a plugin: Terraform starts it. Fix: run terraform, see docs.", file=sys.stderr)  # noqa: T201
        return _EXIT_USAGE
    stopped = threading.Event()
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=16), options=[("grpc.max_receive_message_length", -1)])
    methods = {
        name: _handler(getattr(provider, name), request, response) for name, (request, response) in METHODS.items()
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))
    shutdown = grpc.unary_unary_rpc_method_handler(
        lambda _request, _context: stopped.set() or b"",
        request_deserializer=None,
        response_serializer=None,
    )
    controller = grpc.method_handlers_generic_handler("plugin.GRPCController", {"Shutdown": shutdown})
    server.add_generic_rpc_handlers((controller,))
    key, certificate, der = _certificate()
    credentials = grpc.ssl_server_credentials(
        [(key, certificate)],
        root_certificates=os.environ[_CLIENT_CERTIFICATE].encode(),
        require_client_auth=True,
    )
    with tempfile.TemporaryDirectory(prefix="plugin") as folder:
        server.add_secure_port(f"unix:{folder}/socket", credentials)
        server.start()
        encoded = base64.b64encode(der).rstrip(b"=").decode()
        sys.stdout.write(f"1|6|unix|{folder}/socket|grpc|{encoded}\n")
        sys.stdout.flush()
        stopped.wait()
        server.stop(grace=1).wait()
    return 0
