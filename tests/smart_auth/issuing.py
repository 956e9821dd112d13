"""A small issuer of tokens that does whatever a test wants: discovery, keys, token endpoint, introspection, userinfo. Hostile on demand."""

import base64
import hashlib
import json
import secrets
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, RSAKey

RSA = RSAKey.generate_key(2048, {"kid": "rsa", "use": "sig"})
EC256 = ECKey.generate_key("P-256", {"kid": "ec256", "use": "sig"})
EC384 = ECKey.generate_key("P-384", {"kid": "ec384", "use": "sig"})
OTHER = RSAKey.generate_key(2048, {"kid": "rsa", "use": "sig"})
"""Says that it is RSA, and is not."""
KEYS: dict[str, Any] = {"RS256": RSA, "RS384": RSA, "PS256": RSA, "ES256": EC256, "ES384": EC384}

CLIENT, SECRET = "the-fhir-server", "its secret at the issuer"


class Issuer:
    """Listens on a free port of 127.0.0.1 in a `with` statement. `claims` go into every id_token, `said` over its discovery document,
    `down`: it answers 500. `asked` are the paths that were asked for."""

    def __init__(self) -> None:
        self.keys: list[Any] = [RSA, EC256, EC384]
        self.claims: dict[str, Any] = {}
        self.said: dict[str, Any] = {}
        self.userinfo: dict[str, Any] | None = None
        self.active: dict[str, dict[str, Any]] = {}
        self.header: dict[str, Any] = {}
        self.signed_by: Any = None
        self.answer: dict[str, str] = {}
        self.down = False
        self.asked: list[str] = []
        self._codes: dict[str, dict[str, str]] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def token(self, algorithm: str = "RS256", key: Any = None, header: dict[str, Any] | None = None, **claims: Any) -> str:
        """An access token; a claim that is None is left out."""
        chosen = key or KEYS[algorithm]
        now = int(time.time())
        said = {"iss": self.url, "sub": "somebody", "client_id": "an-app", "iat": now, "exp": now + 300, **claims}
        said = {name: value for name, value in said.items() if value is not None}
        protected = {"alg": algorithm, "kid": chosen.kid, "typ": "at+jwt", **(header or {})}
        return jwt.encode(
            {name: value for name, value in protected.items() if value is not None}, said, chosen, algorithms=[algorithm]
        )

    def authorized(self, url: str) -> str:
        """Where a browser is sent after signing in at this authorization URL."""
        asked = dict(parse_qsl(urlsplit(url).query))
        code = secrets.token_urlsafe(16)
        self._codes[code] = asked
        answer = {"code": code, "state": asked["state"], "iss": self.url, **self.answer}
        return f"{asked['redirect_uri']}?{urlencode({name: value for name, value in answer.items() if value})}"

    def _document(self) -> dict[str, Any]:
        names = {
            "authorization_endpoint": "authorize",
            "token_endpoint": "token",
            "jwks_uri": "jwks",
            "userinfo_endpoint": "userinfo",
        }
        return {
            "issuer": self.url,
            **{name: f"{self.url}/{path}" for name, path in names.items()},
            "response_types_supported": ["code"],
            "authorization_response_iss_parameter_supported": True,
            **self.said,
        }

    def _redeemed(self, form: dict[str, str], authorization: str) -> tuple[int, dict[str, Any]]:
        asked = self._codes.pop(form.get("code", ""), None)
        verifier = form.get("code_verifier", "")
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")
        basic = base64.b64encode(f"{CLIENT}:{SECRET.replace(' ', '+')}".encode()).decode()
        if authorization not in (f"Basic {basic}", f"Basic {base64.b64encode(f'{CLIENT}:{SECRET}'.encode()).decode()}"):
            return 401, {"error": "invalid_client"}
        if asked is None or asked["code_challenge"] != challenge or asked["redirect_uri"] != form.get("redirect_uri"):
            return 400, {"error": "invalid_grant"}
        claims = {"aud": CLIENT, "nonce": asked["nonce"], **self.claims}
        id_token = self.token(key=self.signed_by, header={"typ": "JWT", **self.header}, client_id=None, **claims)
        return 200, {"access_token": "at-the-issuer", "token_type": "Bearer", "id_token": id_token}

    def _answered(self, path: str, form: dict[str, str], authorization: str) -> tuple[int, dict[str, Any]]:
        if path == "/.well-known/openid-configuration":
            return 200, self._document()
        if path == "/jwks":
            return 200, KeySet(self.keys).as_dict(private=False)  # type: ignore[return-value]
        if path == "/token":
            return self._redeemed(form, authorization)
        if path == "/introspect":
            return 200, self.active.get(form.get("token", ""), {"active": False})
        if path == "/userinfo" and self.userinfo is not None and authorization == "Bearer at-the-issuer":
            return 200, self.userinfo
        return 404, {}

    def _handler(issuer) -> type[BaseHTTPRequestHandler]:  # noqa: N805
        class Handler(BaseHTTPRequestHandler):
            def _respond(self, form: dict[str, str]) -> None:
                path = urlsplit(self.path).path
                issuer.asked.append(path)
                status, answer = (500, {}) if issuer.down else issuer._answered(path, form, self.headers.get("Authorization", ""))
                body = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_GET(self) -> None:
                self._respond({})

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                self._respond(dict(parse_qsl(body)))

            def log_message(self, *_: Any) -> None:
                pass

        return Handler
