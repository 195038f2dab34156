"""A Terraform plugin's process: the handshake of HashiCorp's go-plugin on standard output, then gRPC over TLS.

Terraform starts the plugin with a magic cookie in the environment, reads one line,
``core version|protocol version|network|address|grpc|server certificate``, and connects (go-plugin's
docs/guide-plugin-write-non-go.md and its AutoMTLS option). It would show a certificate of its own, of the curve P-521,
which the TLS library inside grpcio does not verify; that nobody else connects is left to the socket's folder, which
only this user may enter.
"""

from __future__ import annotations

import base64
import datetime
import os
import signal
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


def _handler(call: Any, request: str, response: str) -> Any:
    return grpc.unary_unary_rpc_method_handler(
        lambda received, _context: call(received),
        request_deserializer=message[request].FromString,
        response_serializer=message[response].SerializeToString,
    )


def serve(provider: object) -> int:
    """Serves a provider, which has the methods of ``METHODS``, until Terraform ends the plugin or is gone itself.

    Returns the process's exit code.
    """
    if os.environ.get(_COOKIE[0]) != _COOKIE[1]:
        print("This is a plugin: Terraform starts it. Fix: run terraform.", file=sys.stderr)  # noqa: T201
        return _EXIT_USAGE
    parent = os.getppid()
    # Ctrl-C reaches the whole process group, but it is Terraform that decides what is still to be finished.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    stopped = threading.Event()
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=16), options=[("grpc.max_receive_message_length", -1)])
    methods = {
        name: _handler(getattr(provider, name), request, response) for name, (request, response) in METHODS.items()
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))

    def shut_down(_request: bytes, _context: Any) -> bytes:
        stopped.set()
        return b""

    shutdown: Any = grpc.unary_unary_rpc_method_handler(shut_down)
    controller = grpc.method_handlers_generic_handler("plugin.GRPCController", {"Shutdown": shutdown})
    server.add_generic_rpc_handlers((controller,))
    key, certificate, der = _certificate()
    credentials = grpc.ssl_server_credentials([(key, certificate)])
    with tempfile.TemporaryDirectory(prefix="plugin") as folder:
        server.add_secure_port(f"unix:{folder}/socket", credentials)
        server.start()
        encoded = base64.b64encode(der).rstrip(b"=").decode()
        sys.stdout.write(f"1|6|unix|{folder}/socket|grpc|{encoded}\n")
        sys.stdout.flush()
        while os.getppid() == parent and not stopped.wait(timeout=5):
            pass
        server.stop(grace=None).wait()
    return 0
