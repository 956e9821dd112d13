"""Keys at a `jwks_uri`: found, kept, found anew when they change, and never a way into this server's own network."""

import asyncio
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from joserfc import jwk
from oauth.publishing import NAME, Publisher, publishing, serving_as, trusting
from oauth.world import OAuth, key, public, refused, weak

from smart_auth.client_keys import jwks_uri
from smart_auth.client_keys.addresses import Allowed
from smart_auth.client_keys.jwks_uri import FETCHES_A_MINUTE, RemoteKeys, Unreachable, check_url
from smart_auth.clients import Client

HERE = Allowed.read("127.0.0.0/8", loopback=True)


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    with publishing() as one:
        yield one


class Clock:
    """Microseconds, which go on when told to."""

    def __init__(self) -> None:
        self.now = 1_000_000_000

    def __call__(self) -> int:
        return self.now


def names(*addresses: str) -> Any:
    """A resolver by which every name has these addresses; it says how often it was asked."""

    async def resolve(host: str, port: int) -> Sequence[str]:
        resolve.asked.append(host)  # type: ignore[attr-defined]
        return addresses

    resolve.asked = []  # type: ignore[attr-defined]
    return resolve


def find(remote: RemoteKeys, url: str, kid: str = "fresh") -> Any:
    return asyncio.run(remote.find(url, "ES384", kid))


def service(oauth: OAuth, publisher: Publisher, id: str) -> None:
    oauth.stored(Client(id, "Publishes its keys", "backend", "system/*.rs", "private_key_jwt", jwks_uri=publisher.url()))


def asks(oauth: OAuth, id: str, signer: Any, **header: Any) -> Any:
    return oauth.post("token", oauth.service_form(oauth.assertion(id, signer, header=header)))


def test_a_published_key(oauth: OAuth, publisher: Publisher) -> None:
    """[H14] A service that registered where its keys are; it is asked once for many tokens."""
    publisher.body = public(key("published"))
    service(oauth, publisher, "publisher")
    for _ in range(3):
        assert asks(oauth, "publisher", key("published")).status_code == 200
    assert len(publisher.hosts) == 1


def test_a_new_key(oauth: OAuth, publisher: Publisher) -> None:
    """[H12, H14] A key that was published since is found, with the registered `jku` and without one; an old one is known no more."""
    publisher.body = public(key("first"))
    service(oauth, publisher, "rotating")
    assert asks(oauth, "rotating", key("first")).status_code == 200
    publisher.body = public(key("second"))
    assert asks(oauth, "rotating", key("second"), jku=publisher.url()).status_code == 200
    publisher.body = public(key("third"))
    assert asks(oauth, "rotating", key("third")).status_code == 200
    refused(asks(oauth, "rotating", key("first")), "invalid_client")


@pytest.mark.parametrize("kid", ["reused", None])
def test_a_new_key_of_the_same_name(oauth: OAuth, publisher: Publisher, kid: str | None) -> None:
    """[H12, H14] A key that has taken the place of another of its kid, or of the only one without, is found too."""

    def published(name: str) -> Any:
        plain = {member: value for member, value in public(key(name))["keys"][0].items() if member != "kid"}
        return {"keys": [plain | ({"kid": kid} if kid else {})]}

    id = f"same-{kid}"
    service(oauth, publisher, id)
    for name in ("one", "two"):
        publisher.body = published(name)
        assert asks(oauth, id, key(name), kid=kid).status_code == 200
    refused(asks(oauth, id, key("one"), kid=kid), "invalid_client")


def test_a_jku_that_is_not_registered(oauth: OAuth, publisher: Publisher) -> None:
    """[H8, K11] No other `jku` is asked, also not one on the same host."""
    publisher.body = public(key("published"))
    service(oauth, publisher, "careful")
    with publishing() as evil:
        evil.body = public(key("evil"))
        refused(asks(oauth, "careful", key("evil"), jku=evil.url()), "invalid_client")
        assert evil.hosts == []
    for jku in (publisher.url(path="/other"), publisher.url() + "#", publisher.url() + "?x"):
        refused(asks(oauth, "careful", key("published"), jku=jku), "invalid_client")
    assert publisher.hosts == []


def test_unknown_keys_are_not_a_way_to_flood(oauth: OAuth, publisher: Publisher) -> None:
    """[H14] However many unknown kids come, the URL is asked a few times a minute; a known key goes on to work."""
    publisher.body = public(key("published"))
    service(oauth, publisher, "flooded")
    for number in range(FETCHES_A_MINUTE + 5):
        refused(asks(oauth, "flooded", key("strange"), kid=f"strange-{number}"), "invalid_client")
    assert len(publisher.hosts) == FETCHES_A_MINUTE
    assert asks(oauth, "flooded", key("published")).status_code == 200


def test_one_fetch_for_many(oauth: OAuth, publisher: Publisher) -> None:
    """[H14] Requests at the same moment wait for one fetch."""
    publisher.body, publisher.wait = public(key("published")), threading.Event()
    service(oauth, publisher, "busy")
    with ThreadPoolExecutor(6) as pool:
        waiting = [pool.submit(asks, oauth, "busy", key("published")) for _ in range(6)]
        time.sleep(0.2)
        publisher.wait.set()
        assert [each.result().status_code for each in waiting] == [200] * 6
    assert len(publisher.hosts) == 1


def test_a_known_key_does_not_wait(oauth: OAuth, publisher: Publisher) -> None:
    """[H14] While the URL is asked for an unknown kid, and is slow, a client with a known key goes on."""
    publisher.body = public(key("published"))
    service(oauth, publisher, "patient")
    assert asks(oauth, "patient", key("published")).status_code == 200
    publisher.wait = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(asks, oauth, "patient", key("strange"))
        deadline = time.monotonic() + 60
        while len(publisher.hosts) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert asks(oauth, "patient", key("published")).status_code == 200
        assert not waiting.done()
        publisher.wait.set()
        refused(waiting.result(), "invalid_client")


PRIVATE = (
    "10.0.0.1", "172.16.5.4", "192.168.1.1", "127.0.0.1", "127.8.8.8", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1",
    "255.255.255.255", "192.0.0.192", "198.18.0.1", "240.0.0.1", "::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254",
    "ff02::1",
    "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::",
    "2002:a00:1::1", "2001:db8::1", "2001::1", "::127.0.0.1", "fec0::1",
)  # fmt: skip


@pytest.mark.parametrize("address", PRIVATE)
def test_no_way_into_the_own_network(address: str) -> None:
    """[K11] Whatever name leads to a private, local or reserved address: nobody is connected to."""
    remote = RemoteKeys(Clock(), Allowed(), resolver=names(address))
    with pytest.raises(Unreachable, match="not one of the public Internet"):
        find(remote, "https://innocent.example/jwks")


def test_one_private_address_among_others() -> None:
    """[K11] A name with a public and a private address is refused as a whole."""
    with pytest.raises(Unreachable, match="not one of the public Internet"):
        find(RemoteKeys(Clock(), Allowed(), resolver=names("93.184.216.34", "10.0.0.1")), "https://innocent.example/jwks")


@pytest.mark.parametrize(
    "address", ["93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946", "::ffff:93.184.216.34", "64:ff9b::5db8:d822"]
)
def test_the_public_internet(address: str) -> None:
    """[H14] Ordinary addresses are connected to."""
    assert Allowed().may_connect("keys.example", ip_address(address))


@pytest.mark.parametrize("allowed", ["10.1.0.0/16", "keys.internal", "fd00::/8 10.1.2.3", "KEYS.internal"])
def test_what_the_operator_allows(allowed: str) -> None:
    """[K11] FHIR_JWKS_URI_ALLOW names hosts and networks of one's own; others stay refused."""
    known = Allowed.read(allowed)
    assert known.may_connect("keys.internal", ip_address("10.1.2.3"))
    assert not known.may_connect("other.internal", ip_address("10.2.2.3"))


@pytest.mark.parametrize("text", ["10.1.2.3/8", "300.1.1.1", "fe80::zz"])
def test_a_network_that_is_none(text: str) -> None:
    """A setting that cannot be read is an error, not nothing."""
    with pytest.raises(ValueError, match=r"\w"):
        Allowed.read(text)


def test_a_name_that_changes_its_address(publisher: Publisher) -> None:
    """[K11] The connection goes to the address that was checked: the name is resolved once for each fetch (no DNS rebinding)."""
    publisher.body = public(key("fresh"))
    resolver = names("127.0.0.1")
    remote = RemoteKeys(Clock(), Allowed(frozenset(), HERE.networks, loopback=True), resolver=resolver)
    url = f"http://localhost:{publisher.port}/jwks"
    assert find(remote, url)["kid"] == "fresh"
    assert resolver.asked == ["localhost"]
    assert publisher.hosts == [f"localhost:{publisher.port}"]


def test_over_https(tmp_path: Path) -> None:
    """[H14, K11] The certificate is that of the name, though the connection goes to a checked address; another's is refused."""
    with publishing(serving_as(NAME, tmp_path)) as publisher:
        publisher.body = public(key("fresh"))
        trusted = RemoteKeys(Clock(), HERE, resolver=names("127.0.0.1"), tls=trusting(NAME))
        assert find(trusted, publisher.url(NAME))["kid"] == "fresh"
        assert publisher.hosts == [f"{NAME}:{publisher.port}"]
        with pytest.raises(Unreachable, match=r"(?i)certificate"):
            find(trusted, publisher.url("other.example.org"))
        with pytest.raises(Unreachable, match=r"(?i)certificate"):
            find(RemoteKeys(Clock(), HERE, resolver=names("127.0.0.1")), publisher.url(NAME))


ANSWERS: dict[str, tuple[Any, int, dict[str, str]]] = {
    "redirect": ({}, 302, {"Location": "http://169.254.169.254/latest/meta-data/"}),
    "not found": ({}, 404, {}),
    "error": ({}, 500, {}),
    "too large": (b'{"keys": []' + b" " * 70_000 + b"}", 200, {}),
    "no JSON": (b"<html>", 200, {}),
    "a list": ([], 200, {}),
    "no keys": ({"x": []}, 200, {}),
    "a private key": ({"keys": [key("fresh").as_dict(private=True)]}, 200, {}),
    "a secret": ({"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "fresh"}]}, 200, {}),
    "packed": (b"\x1f\x8b", 200, {"Content-Encoding": "gzip"}),
    "deep": (b'{"keys": ' + b"[" * 5_000, 200, {}),
    "too many": ({"keys": [{"kty": "x"}] * 51}, 200, {}),
}  # fmt: skip


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_that_is_no_use(publisher: Publisher, name: str) -> None:
    """[H14, K11] Redirects are not followed, and what is no small set of public keys is not taken."""
    publisher.body, publisher.status, publisher.headers = ANSWERS[name]
    with pytest.raises(Unreachable):
        find(RemoteKeys(Clock(), HERE), publisher.url())
    assert len(publisher.hosts) == 1


@pytest.mark.parametrize("whole", [0.2, 60.0])
def test_a_server_that_does_not_answer(publisher: Publisher, monkeypatch: pytest.MonkeyPatch, whole: float) -> None:
    """[H14] The whole fetch has a time limit, and so has each of its steps: whichever is over first, the same is said."""
    limit = asyncio.timeout
    monkeypatch.setattr(jwks_uri, "SECONDS", 0.2)
    monkeypatch.setattr(asyncio, "timeout", lambda _: limit(whole))
    publisher.wait = threading.Event()
    with pytest.raises(Unreachable, match="did not answer"):
        find(RemoteKeys(Clock(), HERE), publisher.url())


def test_nobody_there(publisher: Publisher, oauth: OAuth) -> None:
    """[H14] Keys that cannot be fetched prove nothing, and the client learns nothing of why."""
    oauth.stored(Client("away", "Away", "backend", "system/*.rs", "private_key_jwt", jwks_uri="http://127.0.0.1:1/jwks"))
    text = refused(asks(oauth, "away", key("away")), "invalid_client")
    assert text == "the keys at the registered jwks_uri could not be read"


@pytest.mark.parametrize(
    "header, seconds",
    [
        ("", 300),
        ("max-age=600", 600),
        ("public, max-age=1", 60),
        ("max-age=9999999", 86_400),
        ("no-store", 60),
        ("no-cache, max-age=600", 60),
        ("max-age=x", 300),
    ],
)
def test_how_long_keys_are_kept(publisher: Publisher, header: str, seconds: int) -> None:
    """[H14] As Cache-Control says, for a minute at least and a day at most."""
    publisher.body = public(key("fresh"))
    publisher.headers = {"Cache-Control": header} if header else {}
    clock = Clock()
    remote = RemoteKeys(clock, HERE)

    async def asked() -> int:
        await remote.find(publisher.url(), "ES384", "fresh")
        return len(publisher.hosts)

    async def through() -> list[int]:
        found = [await asked()]
        clock.now += seconds * 1_000_000 - 1
        found.append(await asked())
        clock.now += 1
        return [*found, await asked()]

    assert asyncio.run(through()) == [1, 1, 2]


def test_keys_that_are_gone_are_gone(publisher: Publisher) -> None:
    """[H14] When the time is up and the keys cannot be had any more, the old ones do not count."""
    publisher.body = public(key("fresh"))
    clock = Clock()
    remote = RemoteKeys(clock, HERE)

    async def through() -> None:
        assert await remote.find(publisher.url(), "ES384", "fresh")
        clock.now += 301_000_000
        publisher.status = 500
        with pytest.raises(Unreachable):
            await remote.find(publisher.url(), "ES384", "fresh")

    asyncio.run(through())


def test_keys_beside_those_that_count(publisher: Publisher) -> None:
    """[H14] Of a published set the keys that cannot be used here are passed over."""
    others = [
        jwk.OKPKey.generate_key("Ed25519", {"kid": "fresh"}).as_dict(private=False),
        key("p521", "P-521").as_dict(private=False),
        weak("fresh"),
        key("enc").as_dict(private=False) | {"use": "enc", "kid": "fresh"},
    ]
    publisher.body = {"keys": [*others, *public(key("fresh"))["keys"]]}
    assert find(RemoteKeys(Clock(), HERE), publisher.url())["x"] == public(key("fresh"))["keys"][0]["x"]


URLS = [
    "http://keys.example/jwks", "ftp://keys.example/jwks", "file:///etc/passwd", "https:///jwks", "https://user:pass@keys.example/jwks",
    "https://keys.example/jwks#x", "/jwks", "", "https://keys.example/j wks", "https://keys.example/" + "x" * 2_000, "https://kéys.example/",
    "https://keys.example:0/", "https://keys.example:99999/", "http://127.0.0.1.example/jwks", "https://keys.example/\r\nHost: x",
]  # fmt: skip


@pytest.mark.parametrize("url", URLS)
def test_where_keys_cannot_be(url: str) -> None:
    """[H14] https, absolute, and plain; http only on this machine, for a server that is there itself."""
    with pytest.raises(ValueError, match=r"\w"):
        check_url(url, Allowed(loopback=True))


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/jwks", "http://localhost/jwks", "http://[::1]:9/jwks"])
def test_http_is_for_this_machine(url: str) -> None:
    """[H14] And only where this server is reached from its own machine only."""
    check_url(url, Allowed(loopback=True))
    with pytest.raises(ValueError, match="https://"):
        check_url(url, Allowed())


@pytest.mark.parametrize(
    "url", ["https://10.0.0.1/jwks", "https://169.254.169.254/jwks", "https://127.0.0.1/jwks", "https://[::ffff:10.0.0.1]/jwks"]
)
def test_a_number_that_would_not_be_connected_to(url: str) -> None:
    """An address in the URL itself is refused before anything is registered, unless the setting names it."""
    with pytest.raises(ValueError, match="FHIR_JWKS_URI_ALLOW"):
        check_url(url, Allowed())
    assert check_url(url, Allowed.read("10.0.0.0/8 169.254.0.0/16 127.0.0.0/8")).geturl() == url
    assert check_url("https://93.184.216.34/jwks", Allowed()).hostname == "93.184.216.34"
