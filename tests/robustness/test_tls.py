"""A server that speaks https itself: which handshakes it takes, and how its certificate is exchanged."""

import datetime
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from robustness.running import ROOT, Server, clean_environment

from fhir_server.cli.tls import tls_context
from fhir_server.config import SettingsError, load_settings

OLD = [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1]
NEW = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]
PATHS = ["/oauth/authorize", "/oauth/token", "/fhir/metadata"]


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1, whose subject is `name`, and its key, as files."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    cert, secret = folder / "cert.pem", folder / "key.pem"
    cert.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    secret.write_bytes(key.private_bytes(*form))
    return cert, secret


class TlsServer(Server):
    """`Server`, asked over https whether it is ready."""

    def ready(self) -> bool:
        """Whether `/readyz` answers 200."""
        try:
            return httpx.get(f"https://127.0.0.1:{self.port}/readyz", verify=False, timeout=10).status_code == 200
        except httpx.TransportError:
            return False


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsServer]:
    folder = tmp_path_factory.mktemp("tls")
    cert, key = certificate(folder, "first")
    with TlsServer(folder / "data", environment={"FHIR_TLS_CERT": str(cert), "FHIR_TLS_KEY": str(key)}) as one:
        yield one


def handshake(port: int, version: ssl.TLSVersion, ciphers: str = "ALL:@SECLEVEL=0") -> ssl.SSLSocket:
    """A connection of just this version, by a client that would take anything. Raises ssl.SSLError or ConnectionError if it is refused."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers(ciphers)
    context.minimum_version = context.maximum_version = version
    return context.wrap_socket(socket.create_connection(("127.0.0.1", port), 60))


@pytest.mark.parametrize("version", NEW)
def test_new_versions_are_spoken(server: TlsServer, version: ssl.TLSVersion) -> None:
    """[B1] TLS 1.2 and 1.3 are accepted."""
    with handshake(server.port, version) as connection:
        assert connection.version() == version.name.replace("_", ".")
        cipher = connection.cipher()
        assert cipher is not None and ("GCM" in cipher[0] or "CHACHA20" in cipher[0])


@pytest.mark.parametrize("version", OLD)
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_old_versions_are_refused(server: TlsServer, version: ssl.TLSVersion) -> None:
    """[B1] TLS 1.0 and 1.1 are refused, also from clients that would put up with anything."""
    with pytest.raises((ssl.SSLError, ConnectionError)) as refusal, handshake(server.port, version):
        pass
    assert "no protocols available" not in str(refusal.value).lower(), "the client itself could not try"


@pytest.mark.parametrize("ciphers", ["AES128-SHA", "AES256-GCM-SHA384", "ECDHE-ECDSA-AES256-SHA384"])
def test_weak_suites_are_refused(server: TlsServer, ciphers: str) -> None:
    """No suite without forward secrecy or without authenticated encryption (RFC 9325, 4.2)."""
    with pytest.raises((ssl.SSLError, ConnectionError)), handshake(server.port, ssl.TLSVersion.TLSv1_2, ciphers):
        pass


@pytest.mark.parametrize("path", PATHS)
def test_plain_http_is_not_answered(server: TlsServer, path: str) -> None:
    """[B1] Nothing is served without TLS, and links and headers say https."""
    with pytest.raises(httpx.TransportError):
        httpx.get(f"http://127.0.0.1:{server.port}{path}")
    answer = httpx.get(f"https://127.0.0.1:{server.port}/fhir/metadata", verify=False)
    assert answer.json()["implementation"]["url"] == f"https://127.0.0.1:{server.port}/fhir"
    assert answer.headers["strict-transport-security"]


def subject(port: int, *, again: bool = False) -> str:
    """The name in the certificate that is shown. `again`: "" where the handshake fell to a process that was just being replaced."""
    try:
        with handshake(port, ssl.TLSVersion.TLSv1_3) as connection:
            shown = connection.getpeercert(binary_form=True)
    except (ssl.SSLError, ConnectionError):
        if again:
            return ""
        raise
    assert shown is not None
    return x509.load_der_x509_certificate(shown).subject.rfc4514_string()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_new_certificate_is_taken_at_hangup(tmp_path: Path, workers: str) -> None:
    """After SIGHUP new connections see the new certificate; a broken one is not taken by a single process, which goes on with the old."""
    cert, key = certificate(tmp_path, "first")
    settings = {"FHIR_TLS_CERT": str(cert), "FHIR_TLS_KEY": str(key)}
    with TlsServer(tmp_path / "data", "--workers", workers, environment=settings) as server:
        assert server.process is not None
        assert subject(server.port) == "CN=first"
        certificate(tmp_path, "second")
        os.kill(server.process.pid, signal.SIGHUP)
        deadline = time.monotonic() + 60
        while subject(server.port, again=workers == "2") != "CN=second":
            assert time.monotonic() < deadline, server.log()
            time.sleep(0.05)
        if workers == "1":
            key.write_text("nonsense")
            os.kill(server.process.pid, signal.SIGHUP)
            deadline = time.monotonic() + 60
            while "was not exchanged" not in server.log():
                assert time.monotonic() < deadline, server.log()
                time.sleep(0.05)
            assert subject(server.port) == "CN=second"


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"tls_cert": "none.pem"}, "FHIR_TLS_CERT="),
        ({"tls_cert": "cert.pem", "tls_key": "none.pem"}, "FHIR_TLS_KEY="),
        ({"tls_cert": "cert.pem"}, "FHIR_TLS_CERT: no certificate with its key, as PEM without a password"),
        ({"tls_cert": "cert.pem", "tls_key": "other/key.pem"}, "FHIR_TLS_CERT and FHIR_TLS_KEY"),
        ({"tls_key": "key.pem"}, "FHIR_TLS_KEY needs FHIR_TLS_CERT"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path: Path, files: dict[str, str], says: str) -> None:
    """Files that are missing, or no certificate with its key, are named with their setting."""
    (tmp_path / "other").mkdir()
    certificate(tmp_path, "x")
    certificate(tmp_path / "other", "y")
    with pytest.raises((ValueError, SettingsError), match=re.escape(says)):
        tls_context(load_settings({name: tmp_path / file for name, file in files.items()}))


def test_what_cannot_be_used_stops_the_start(tmp_path: Path) -> None:
    """It is said in one line, before anybody is answered."""
    environment = clean_environment(FHIR_TLS_CERT=str(tmp_path / "none.pem"), FHIR_DATA_DIR=str(tmp_path / "data"))
    command = [sys.executable, "-m", "fhir_server", "serve", "--port", "0"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    assert "FHIR_TLS_CERT=" in done.stderr
    assert "Traceback" not in done.stderr
    checked = [sys.executable, "-m", "fhir_server", "check-config"]
    done = subprocess.run(checked, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "FHIR_TLS_CERT=" in done.stderr
