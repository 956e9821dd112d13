"""What the operator signs in with at the server that is migrated from. Secrets come from files or the environment, never from the command
line, which others on the machine can read."""

import os
import time
from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

from joserfc import jwk, jwt
from joserfc.errors import JoseError
from joserfc.jws import JWSRegistry

from fhir_server.migrating.contract import Stopped
from fhir_server.migrating.remote.connection import Connection, Credentials, Refused, checked
from smart_auth.client_keys.jwks_uri import loopback

TOKEN, USER, PASSWORD = "FHIR_FROM_TOKEN", "FHIR_FROM_USER", "FHIR_FROM_PASSWORD"

ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
SCOPES = "system/*.rs"
_EARLY = 30
"""Seconds before its end at which a token is not used any more."""


class Anonymous:
    """No credentials."""

    def header(self, connection: Connection) -> Mapping[str, str]:
        """None."""
        return {}

    def renew(self) -> bool:
        """There is nothing to renew."""
        return False


class Fixed(Anonymous):
    """A header that stays: a bearer token, or a user's name and password (RFC 7617)."""

    def __init__(self, value: str) -> None:
        if not value.isascii() or not value.isprintable():
            raise Stopped("the token or password holds what cannot be sent in a header")
        self._value = value

    def header(self, connection: Connection) -> Mapping[str, str]:
        """Always the same."""
        return {"Authorization": self._value}


class BackendService:
    """A service that is registered there with a public key, whose private one signs assertions
    (https://hl7.org/fhir/smart-app-launch/STU2.2/backend-services.html). `token_url` empty: as the server's configuration says."""

    def __init__(self, client: str, key_file: Path, *, scopes: str = SCOPES, token_url: str = "") -> None:
        self._client, self._scopes, self._url = client, scopes, token_url
        self._key, self._algorithm = _read_key(key_file)
        self._token, self._until = "", 0.0

    def header(self, connection: Connection) -> Mapping[str, str]:
        """With a token that is good for half a minute at least."""
        if time.time() > self._until - _EARLY:
            self._fetch(connection)
        return {"Authorization": f"Bearer {self._token}"}

    def renew(self) -> bool:
        """By its key."""
        self._until = 0.0
        return True

    def _fetch(self, connection: Connection) -> None:
        url = self._url or self._discover(connection)
        parts = checked(url)
        if parts.scheme != "https" and not loopback(parts.hostname or ""):
            raise Stopped(f"the token endpoint {url} is not https: name another one with --token-url")
        form = {
            "grant_type": "client_credentials", "scope": self._scopes, "client_assertion_type": ASSERTION,
            "client_assertion": self._assertion(url),
        }  # fmt: skip
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
        answer = connection.ask("POST", url, headers, urlencode(form).encode(), sign=False)
        if answer.status != 200:
            text = str(answer.json().get("error", "")) if "json" in answer.headers.get("content-type", "") else ""
            raise Stopped(f"no token from {url}: it answers {answer.status} {text[:100]}".rstrip())
        told = answer.json()
        token, seconds = told.get("access_token"), told.get("expires_in", 300)
        if not isinstance(token, str) or not token or not isinstance(seconds, int):
            raise Stopped(f"no token from {url}: its answer has no access_token")
        self._token, self._until = token, time.time() + max(seconds, _EARLY + 5)

    def _discover(self, connection: Connection) -> str:
        answer = connection.ask(
            "GET", f"{connection.base}/.well-known/smart-configuration", {"Accept": "application/json"}, sign=False
        )
        url = answer.json().get("token_endpoint") if answer.status == 200 else None
        if not isinstance(url, str):
            raise Stopped(f"{connection.base} does not say where its token endpoint is; give it with --token-url")
        self._url = url
        return url

    def _assertion(self, url: str) -> str:
        now = int(time.time())
        claims = {"iss": self._client, "sub": self._client, "aud": url, "iat": now, "exp": now + 240, "jti": str(uuid4())}
        header = {"alg": self._algorithm, "typ": "JWT", **({"kid": self._key.kid} if self._key.kid else {})}
        return jwt.encode(header, claims, self._key, registry=JWSRegistry(algorithms=[self._algorithm]))


def credentials(
    *,
    token_file: Path | None,
    user: str,
    password_file: Path | None,
    client: str,
    key_file: Path | None,
    scopes: str,
    token_url: str,
) -> Credentials:
    """What the options and the environment give. Raises Stopped where they give several, or half of one."""
    token = _secret(token_file) if token_file else os.environ.get(TOKEN, "")
    user = user or os.environ.get(USER, "")
    password = _secret(password_file) if password_file else os.environ.get(PASSWORD, "")
    if sum((bool(token), bool(user), bool(client))) > 1:
        raise Stopped("give one way to sign in: a token, a user's name and password, or a client with its key")
    if token:
        return Fixed(f"Bearer {token}")
    if user:
        if not password:
            raise Stopped(f"user {user} needs a password: {PASSWORD}, or --password-file")
        return Fixed(f"Basic {b64encode(f'{user}:{password}'.encode()).decode()}")
    if client:
        if key_file is None:
            raise Stopped("--client needs its private key: --key-file")
        return BackendService(client, key_file, scopes=scopes, token_url=token_url)
    return Anonymous()


def _secret(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as failure:
        raise Stopped(f"{path} cannot be read: {getattr(failure, 'strerror', None) or 'it is no text'}") from None


def _read_key(path: Path) -> tuple[Any, str]:
    """A private key as JWK, JWK Set (the first that signs) or PEM, and the algorithm that it signs with."""
    text = _secret(path)
    try:
        if text.startswith("{"):
            keys = jwk.KeySet.import_key_set({"keys": _members(text)}).keys
            key = next((each for each in keys if each.is_private), None)
        else:
            key = _pem(text)
    except (JoseError, ValueError, TypeError, KeyError):
        key = None
    if key is None:
        raise Stopped(f"{path} holds no private key: a JWK, a JWK Set or PEM, of the type RSA or EC on P-384")
    algorithm = key.get("alg") or {"RSA": "RS384", "EC": "ES384"}.get(key.key_type)
    if not isinstance(algorithm, str):
        raise Stopped(f"the key in {path} must be RSA, or EC on P-384")
    return key, algorithm


def _members(text: str) -> list[Any]:
    import msgspec

    told = msgspec.json.decode(text.encode(), type=dict[str, Any])
    return list(told["keys"]) if "keys" in told else [told]


def _pem(text: str) -> Any:
    try:
        return jwk.RSAKey.import_key(text)
    except (JoseError, ValueError, TypeError):
        return jwk.ECKey.import_key(text)


__all__ = ["ASSERTION", "PASSWORD", "SCOPES", "TOKEN", "USER", "Anonymous", "BackendService", "Refused", "credentials"]
