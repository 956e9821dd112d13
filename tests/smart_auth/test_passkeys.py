"""Passkeys as a stranger would forge them: a key in Python signs what it should not. (Real browsers: tests/browser/test_passkeys.py.)"""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any

import cbor2
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from people import Browser, Found, People, said

PROVE, ADD = "/oauth/second-factor", "/account/second-factor"
WRONG = "The passkey was not accepted."


def raw(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def text(data: bytes) -> str:
    return urlsafe_b64encode(data).decode().rstrip("=")


@dataclass(frozen=True)
class Key:
    """A security key, and what it says; every field can be made wrong (https://www.w3.org/TR/webauthn-2/#sctn-authenticator-data)."""

    origin: str
    id: bytes = b"a key of the tests"
    secret: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    host: str = "localhost"
    flags: int = 0x05
    count: int = 1
    cross: bool = False

    def made(self, options: str, type: str = "webauthn.create") -> str:
        """The answer to `navigator.credentials.create`."""
        numbers = self.secret.public_key().public_numbers()
        public = cbor2.dumps({1: 2, 3: -7, -1: 1, -2: numbers.x.to_bytes(32, "big"), -3: numbers.y.to_bytes(32, "big")})
        attested = bytes(16) + len(self.id).to_bytes(2, "big") + self.id + public
        said = {"fmt": "none", "attStmt": {}, "authData": self._says(0x40) + attested}
        client = self._client(json.loads(options)["challenge"], type)
        return self._answer({"clientDataJSON": text(client), "attestationObject": text(cbor2.dumps(said))})

    def signed(self, options: str, type: str = "webauthn.get", challenge: str = "") -> str:
        """The answer to `navigator.credentials.get`."""
        client, says = self._client(challenge or json.loads(options)["challenge"], type), self._says(0)
        signature = self.secret.sign(says + sha256(client).digest(), ec.ECDSA(SHA256()))
        return self._answer(
            {"clientDataJSON": text(client), "authenticatorData": text(says), "signature": text(signature), "userHandle": None}
        )

    def _says(self, more: int) -> bytes:
        return sha256(self.host.encode()).digest() + bytes([self.flags | more]) + self.count.to_bytes(4, "big")

    def _client(self, challenge: str, type: str) -> bytes:
        return json.dumps({"type": type, "challenge": challenge, "origin": self.origin, "crossOrigin": self.cross}).encode()

    def _answer(self, response: dict[str, Any]) -> str:
        return json.dumps({"id": text(self.id), "rawId": text(self.id), "type": "public-key", "response": response})


def local(crowd: People) -> Browser:
    """A browser that knows the server by a name: passkeys belong to names."""
    return Browser(crowd.running.root.replace("127.0.0.1", "localhost"))


def with_key(crowd: People) -> tuple[str, Key]:
    """A user who has a passkey."""
    name, browser = crowd.user(), local(crowd)
    page = browser.entered(name).get(ADD)
    key = Key(browser.root)
    answer = browser.send(page, ADD, credential=key.made(Found(page.text).options[0]), label="<b>Mine</b>")
    assert answer.status_code == 200 and "Your recovery codes" in answer.text, said(answer)
    return name, replace(key, count=2)


def proving(crowd: People, name: str) -> tuple[Browser, Any, str]:
    """A browser that has given the password, the page that asks for the passkey, and what it asks."""
    browser = local(crowd)
    browser.sign_in(name)
    page = browser.get(PROVE)
    return browser, page, Found(page.text).options[0]


def test_the_key_signs_in(crowd: People) -> None:
    """What the tables below make wrong is right otherwise; the key's name is shown as text."""
    name, key = with_key(crowd)
    browser, page, options = proving(crowd, name)
    assert browser.send(page, PROVE, credential=key.signed(options)).status_code == 303 and browser.signed_in
    assert "&lt;b&gt;Mine&lt;/b&gt;" in browser.get("/account").text
    asked = json.loads(options)
    assert asked["rpId"] == "localhost" and [raw(each["id"]) for each in asked["allowCredentials"]] == [key.id]


FORGED: dict[str, Callable[[Key, str], str]] = {
    "another site": lambda key, options: replace(key, origin="https://evil.example").signed(options),
    "another port": lambda key, options: replace(key, origin="http://localhost:1").signed(options),
    "another host's key": lambda key, options: replace(key, host="evil.example").signed(options),
    "another key": lambda key, options: Key(key.origin, count=9).signed(options),
    "another id": lambda key, options: replace(key, id=b"somebody else's").signed(options),
    "another challenge": lambda key, options: key.signed(options, challenge=text(b"x" * 32)),
    "no challenge": lambda key, options: key.signed('{"challenge": ""}'),
    "made, not asked for": lambda key, options: key.signed(options, type="webauthn.create"),
    "nobody touched it": lambda key, options: replace(key, flags=0).signed(options),
    "a copy, as old": lambda key, options: replace(key, count=1).signed(options),
    "a copy, older": lambda key, options: replace(key, count=0).signed(options),
    "signature cut": lambda key, options: key.signed(options).replace('"signature": "', '"signature": "AAAA'),
    "nothing": lambda key, options: "",
    "an empty object": lambda key, options: "{}",
    "a list": lambda key, options: "[]",
    "null": lambda key, options: "null",
    "a number for an id": lambda key, options: '{"id": 1, "rawId": 1, "type": "public-key", "response": {}}',
    "no response": lambda key, options: json.dumps({"id": text(key.id), "rawId": text(key.id), "type": "public-key"}),
    "deep": lambda key, options: "[" * 9_000,
    "long": lambda key, options: key.signed(options) + " " * 30_000 + "x",
    "not text": lambda key, options: "\ud7ff\x00{}",
}


@pytest.mark.parametrize("how", FORGED)
def test_forged(crowd: People, how: str) -> None:
    """What the user's key did not sign for this very sign-in at this very site is refused like a wrong code."""
    name, key = with_key(crowd)
    browser, page, options = proving(crowd, name)
    answer = browser.send(page, PROVE, credential=FORGED[how](key, options))
    assert (answer.status_code, said(answer), browser.signed_in) == (400, WRONG, False)


def test_a_challenge_serves_once(crowd: People) -> None:
    """After an answer, right or wrong, the challenge is gone: not even the right key can answer it again."""
    name, key = with_key(crowd)
    browser, page, options = proving(crowd, name)
    good = key.signed(options)
    assert browser.send(page, PROVE, credential="{}").status_code == 400
    assert said(browser.send(page, PROVE, credential=good)) == WRONG
    other, page, _ = proving(crowd, name)
    assert said(other.send(page, PROVE, credential=good)) == WRONG and not other.signed_in


def test_somebody_elses_passkey(crowd: People) -> None:
    """A user's passkey signs nobody else in."""
    _, mine = with_key(crowd)
    name, _ = with_key(crowd)
    browser, page, options = proving(crowd, name)
    assert said(browser.send(page, PROVE, credential=mine.signed(options))) == WRONG and not browser.signed_in


@pytest.mark.parametrize(
    "wrong",
    [
        lambda key, options: replace(key, origin="https://evil.example").made(options),
        lambda key, options: replace(key, host="evil.example").made(options),
        lambda key, options: replace(key, flags=0).made(options),
        lambda key, options: key.made(options, type="webauthn.get"),
        lambda key, options: key.made('{"challenge": "AAAA"}'),
        lambda key, options: key.signed(options),
        lambda key, options: "{}",
        lambda key, options: "",
    ],
)
def test_keys_that_are_not_added(crowd: People, wrong: Callable[[Key, str], str]) -> None:
    """A key that was made for another site, for another challenge, or by nobody's touch is not added."""
    browser = local(crowd).entered(crowd.user())
    page = browser.get(ADD)
    answer = browser.send(page, ADD, credential=wrong(Key(browser.root), Found(page.text).options[0]))
    assert (answer.status_code, said(answer)) == (400, WRONG)
    assert "None yet: whoever knows your password can sign in." in browser.get("/account").text


def test_where_passkeys_cannot_be(crowd: People) -> None:
    """At an address without a name, browsers have no passkeys: the pages do not offer them, and codes still count."""
    name, _ = with_key(crowd)
    assert not Found(crowd.browser().entered(crowd.user()).get(ADD).text).options
    browser = crowd.browser()
    browser.sign_in(name)
    page = browser.get(PROVE)
    assert not Found(page.text).options and "Your passkeys do not work at this address." in page.text
