"""How much one caller may ask for: 429 with Retry-After (https://www.rfc-editor.org/rfc/rfc6585#section-4)."""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from access.worlds import World
from services.running import service

from fhir_server.app import open_service
from smart_auth.access import Access
from smart_auth.clients import Client, kept
from tests.api.conftest import problem

CALLERS = {
    "everything": Access("loader", "loader", "system/*.cruds", 0),
    "other": Access("service", "service", "system/*.cruds", 0),
    "kim": Access("kim", "app", "user/*.rs", 0, role="practitioner", fhir_user="Practitioner/1"),
    "lee": Access("lee", "app", "user/*.rs", 0, role="practitioner", fhir_user="Practitioner/1"),
}
OFF = {"rate_limit_anonymous": "off", "rate_limit_oauth": "off", "rate_limit_authorize": "off", "rate_limit_sign_in": "off"}


@contextmanager
def limited(folder: Path, **settings: Any) -> Iterator[World]:
    world = World(folder, [], CALLERS, **(OFF | settings))
    yield world
    world.close()


def get(world: World, caller: str, path: str = "Patient/none", **headers: str) -> httpx.Response:
    if caller:
        headers["Authorization"] = f"Bearer {world.tokens.get(caller, caller)}"
    return httpx.get(
        f"{world.running.root}/fhir/{path}", headers={name.replace("_", "-"): value for name, value in headers.items()}
    )


def throttled(answer: httpx.Response) -> bool:
    """Whether it is a whole 429; fails for half of one."""
    if answer.status_code != 429:
        return False
    assert 1 <= int(answer.headers["retry-after"]) <= 7_200
    assert answer.json()["issue"][0]["code"] == "throttled"
    assert "Too many requests" in problem(answer)
    return True


def test_each_client_and_user_has_a_limit(tmp_path: Path) -> None:
    """[K16] The request after the last one is answered 429 with Retry-After and an OperationOutcome; other callers are not."""
    with limited(tmp_path, rate_limit="5/hour") as world:
        assert [throttled(get(world, "everything")) for _ in range(7)] == [False] * 5 + [True] * 2
        assert not throttled(get(world, "other"))
        assert [throttled(get(world, "kim")) for _ in range(6)] == [False] * 5 + [True]
        assert not throttled(get(world, "lee"))
        assert get(world, "").status_code == 401


def test_entries_of_a_bundle_count(tmp_path: Path) -> None:
    """A batch is as many requests as it has entries, so nobody gets more by packing them; a large one takes all that there is."""
    entries = [{"request": {"method": "GET", "url": "Patient/none"}} for _ in range(4)]
    with limited(tmp_path, rate_limit="10/hour") as world:

        def batch(caller: str, times: int = 1) -> httpx.Response:
            bundle = {"resourceType": "Bundle", "type": "batch", "entry": entries * times}
            headers = {"Authorization": f"Bearer {world.tokens[caller]}"}
            return httpx.post(f"{world.running.root}/fhir", json=bundle, headers=headers)

        assert [throttled(batch("everything")) for _ in range(3)] == [False, False, True]
        assert not throttled(get(world, "everything"))
        assert not throttled(batch("other", 25))
        assert throttled(get(world, "other"))


def test_who_has_no_good_token_is_limited_by_address(tmp_path: Path) -> None:
    """Guessing tokens and asking without one count together, by address; those with a token come through all the same."""
    with limited(tmp_path, rate_limit_anonymous="4/hour") as world:
        assert [get(world, token).status_code for token in ("", "guess-1", "guess-2", "")] == [401] * 4
        assert throttled(get(world, "guess-3"))
        assert throttled(get(world, "", "metadata"))
        assert get(world, "everything").status_code == 404


def test_proxies_tell_callers_apart(tmp_path: Path) -> None:
    """Behind a trusted proxy each of its callers has a limit of its own, and none gets another by making addresses up."""
    with limited(tmp_path, rate_limit_anonymous="2/hour", trusted_proxies="127.0.0.0/8") as world:
        one = [throttled(get(world, "", X_Forwarded_For=f"6.6.6.{n}, 198.51.100.1")) for n in range(3)]
        assert one == [False, False, True]
        assert not throttled(get(world, "", X_Forwarded_For="198.51.100.2"))
    with limited(tmp_path / "none", rate_limit_anonymous="2/hour") as world:
        assert [throttled(get(world, "", X_Forwarded_For=f"198.51.100.{n}")) for n in range(3)] == [False, False, True]


def test_the_audit_has_the_address_that_the_proxy_names(tmp_path: Path) -> None:
    """The AuditEvent of a request that came through a trusted proxy names the caller, not the proxy."""
    with limited(tmp_path, trusted_proxies="127.0.0.1") as world:
        get(world, "other", X_Forwarded_For="198.51.100.77")
        found = get(world, "everything", "AuditEvent?address=198.51.100.77")
        assert found.json()["total"] == 1


def test_sign_in_is_limited_by_address(tmp_path: Path) -> None:
    """Endpoints of OAuth answer 429 in their own words, pages with a page; the FHIR interface is not touched by it."""
    with limited(tmp_path, rate_limit_oauth="6/hour", rate_limit_sign_in="2/hour") as world:
        root = world.running.root
        forms = [httpx.post(f"{root}/oauth/sign-in", data={"username": "x", "password": "y"}) for _ in range(3)]
        assert [form.status_code == 429 for form in forms] == [False, False, True]
        assert forms[2].headers["content-type"].startswith("text/html")
        assert int(forms[2].headers["retry-after"]) >= 1
        tokens = [httpx.post(f"{root}/oauth/token", data={"grant_type": "none"}) for _ in range(4)]
        assert [answer.status_code == 429 for answer in tokens] == [False, False, False, True]
        assert tokens[3].json()["error"] == "temporarily_unavailable"
        assert int(tokens[3].headers["retry-after"]) >= 1
        assert get(world, "everything").status_code == 404


def test_what_is_kept_for_strangers_is_limited_by_address(tmp_path: Path) -> None:
    """Requests for a user's consent have a limit of their own; other pages and endpoints go on."""
    with limited(tmp_path, rate_limit_authorize="2/hour") as world:
        root = world.running.root
        answers = [httpx.get(f"{root}/oauth/authorize"), *(httpx.post(f"{root}/oauth/authorize") for _ in range(2))]
        assert [answer.status_code for answer in answers] == [400, 400, 429]
        assert int(answers[2].headers["retry-after"]) >= 1 and "FHIR_RATE_LIMIT_AUTHORIZE" in answers[2].text
        assert httpx.get(f"{root}/oauth/sign-in").status_code == 200


NOBODY = {"client_id": "nobody", "client_secret": "guessed"}


@pytest.mark.parametrize(
    ("path", "client"), [("token", NOBODY), ("token", {"client_id": "open"}), ("introspect", NOBODY), ("revoke", NOBODY)]
)
def test_strangers_do_not_fill_the_record(tmp_path: Path, path: str, client: dict[str, str]) -> None:
    """Refusals of calls by nobody known are recorded up to the limit of those without a token, then answered 429 and not recorded."""
    with limited(tmp_path, rate_limit_anonymous="3/hour") as world:
        asyncio.run(_public(world))
        form = client | {"grant_type": "authorization_code", "code": "guessed", "redirect_uri": "http://127.0.0.1/cb", "token": "x"}
        answers = [httpx.post(f"{world.running.root}/oauth/{path}", data=form) for _ in range(6)]
        assert [answer.status_code for answer in answers] == [answers[0].status_code] * 3 + [429] * 3
        assert answers[0].status_code in (400, 401)
        assert answers[5].json()["error"] == "temporarily_unavailable" and int(answers[5].headers["retry-after"]) >= 1
        events = get(world, "everything", "AuditEvent?outcome=4&_total=accurate")
        assert events.json()["total"] == 3


async def _public(world: World) -> None:
    """An app that anybody can say to be."""
    async with open_service(world.running.app._settings) as service:
        app = Client("open", "Open", "public", "patient/*.rs", "none", redirect_uris=("http://127.0.0.1/cb",))
        await service.commit(kept(app))


def test_servers_share_limits_in_redis(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two servers on one Redis allow together what one of them would."""
    monkeypatch.setattr("fhir_server.protection.rates.TIMEOUT", 60.0)  # a busy Redis is not one that is away
    settings = {"rate_limit": "6/hour", "redis_url": service("redis")}
    with limited(tmp_path / "one", **settings) as one, limited(tmp_path / "two", **settings) as two:
        answers = [throttled(get(world, "kim")) for _ in range(5) for world in (one, two)]
    assert answers == [False] * 6 + [True] * 4


def test_requests_at_the_same_time(tmp_path: Path) -> None:
    """With FHIR_MAX_CONCURRENT_PER_CLIENT a client that has so many requests under way is asked to wait; it gets its places back."""
    with limited(tmp_path, max_concurrent_per_client=2) as world:
        root, token = world.running.root, world.tokens["kim"]
        go = threading.Event()

        def slow() -> Iterator[bytes]:
            yield b'{"resourceType":"Parameters"'
            go.wait(120)
            yield b"}"

        def send() -> None:
            headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/fhir+json"}
            httpx.post(f"{root}/fhir/Patient/$validate", content=slow(), headers=headers, timeout=180)

        threads = [threading.Thread(target=send) for _ in range(2)]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + 60
        while (answer := get(world, "kim")).status_code != 429 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert answer.status_code == 429 and answer.headers["retry-after"] == "1"
        assert get(world, "lee").status_code != 429
        go.set()
        for thread in threads:
            thread.join(60)
        assert get(world, "kim").status_code != 429


def test_bodies_are_not_taken_from_strangers(tmp_path: Path) -> None:
    """A request without a token is refused before its body is read, however long that will be."""
    with limited(tmp_path) as world, socket.create_connection(("127.0.0.1", world.running.port), 60) as stranger:
        head = b"POST /fhir/Patient HTTP/1.1\r\nHost: x\r\nContent-Type: application/fhir+json\r\nContent-Length: 49000000\r\n\r\n"
        stranger.sendall(head)
        assert stranger.recv(4_096).startswith(b"HTTP/1.1 401 ")
