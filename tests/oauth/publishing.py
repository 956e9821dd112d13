"""A web server of a client on this machine that publishes its keys, over http or https, and counts who asks."""

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

NAME = "keys.example.org"


@dataclass
class Publisher:
    """What is answered: `body`, or its JSON, with `headers`, after `wait` (an event). `hosts` are the Host headers that came."""

    port: int = 0
    scheme: str = "http"
    body: Any = field(default_factory=lambda: {"keys": []})
    status: int = 200
    headers: dict[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})
    wait: threading.Event | None = None
    hosts: list[str] = field(default_factory=list)

    def url(self, host: str = "127.0.0.1", path: str = "/jwks") -> str:
        """Where the keys are, by this name of the host."""
        return f"{self.scheme}://{host}:{self.port}{path}"


@contextmanager
def publishing(tls: ssl.SSLContext | None = None) -> Iterator[Publisher]:
    """A running server."""
    publisher = Publisher(scheme="https" if tls else "http")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            publisher.hosts.append(self.headers["Host"])
            if publisher.wait is not None:
                publisher.wait.wait(120)
            body = publisher.body if isinstance(publisher.body, bytes) else json.dumps(publisher.body).encode()
            self.send_response(publisher.status)
            for name, value in publisher.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            try:
                self.wfile.write(body)
            except OSError:  # who asked has heard enough
                self.close_connection = True

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    publisher.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield publisher
    finally:
        if publisher.wait is not None:
            publisher.wait.set()
        server.shutdown()
        server.server_close()
        thread.join(5)


@cache
def certificate(name: str = NAME) -> tuple[bytes, bytes]:
    """A certificate for a host name, which vouches for itself, and its private key, in PEM."""
    private = ec.generate_private_key(ec.SECP256R1())
    called = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(called)
        .issuer_name(called)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(private, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    plain = private.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return made.public_bytes(encoding), plain


def serving_as(name: str, folder: Path) -> ssl.SSLContext:
    """The TLS side of a server of this name."""
    paths = folder / "certificate.pem", folder / "key.pem"
    for path, text in zip(paths, certificate(name), strict=True):
        path.write_bytes(text)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*paths)
    return context


def trusting(name: str) -> ssl.SSLContext:
    """The TLS side of who believes the certificate of this name."""
    return ssl.create_default_context(cadata=certificate(name)[0].decode())
