"""TLS for a server that speaks https itself (FHIR_TLS_CERT, FHIR_TLS_KEY).

TLS 1.2 and 1.3 only; of 1.2 only suites with forward secrecy and authenticated encryption, as BCP 195 (RFC 9325, 4.2) asks for.
"""

import logging
import signal
import ssl
from pathlib import Path

from fhir_server.config import Settings

_log = logging.getLogger("fhir_server")

CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"


def tls_context(settings: Settings) -> ssl.SSLContext:
    """The context of every connection. Raises ValueError, in words for an operator, where the files cannot be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.set_ciphers(CIPHERS)
    context.set_alpn_protocols(["http/1.1"])
    _load(context, settings)
    return context


def reload_at_hangup(context: ssl.SSLContext, settings: Settings) -> None:
    """At SIGHUP read certificate and key again, for new connections; where they cannot be used, go on with the old ones and say so."""

    def again(*_: object) -> None:
        try:
            _load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), settings)  # a context that a bad key is loaded into keeps half of it
            _load(context, settings)
        except ValueError as problem:
            _log.error("the certificate was not exchanged: %s", problem)
        else:
            _log.warning("certificate and key were read again")

    signal.signal(signal.SIGHUP, again)


def _load(context: ssl.SSLContext, settings: Settings) -> None:
    assert settings.tls_cert is not None
    _readable("FHIR_TLS_CERT", settings.tls_cert)
    if settings.tls_key is not None:
        _readable("FHIR_TLS_KEY", settings.tls_key)
    try:
        context.load_cert_chain(settings.tls_cert, settings.tls_key, password=_no_password)
    except (ssl.SSLError, ValueError) as problem:
        names = "FHIR_TLS_CERT and FHIR_TLS_KEY" if settings.tls_key else "FHIR_TLS_CERT"
        reason = getattr(problem, "reason", None) or str(problem)
        raise ValueError(f"{names}: no certificate with its key, as PEM without a password: {reason}") from None


def _readable(name: str, path: Path) -> None:
    try:
        with path.open("rb"):
            pass
    except OSError as problem:
        raise ValueError(f"{name}={path} cannot be read: {problem.strerror}") from None


def _no_password() -> str:
    """Rather than a question on the terminal, at which a server would wait for ever."""
    raise ValueError("the key is protected by a password")
