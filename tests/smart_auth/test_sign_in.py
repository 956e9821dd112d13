"""Signing in with a name and a password: what is told to whom, how guessing is slowed, what a session is."""

import asyncio
import itertools
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest
from people import PASSWORD, SIGN_IN, Browser, Found, People, people, said

from fhir_server.app import open_service
from fhir_server.config import Settings
from smart_auth.people import delays, passwords
from smart_auth.people.delays import _place
from smart_auth.users import User, find_user
from smart_auth.web import WebRequest

WRONG = "The user name or the password is wrong."


def test_the_way_in(crowd: People) -> None:
    """Name and password lead to the account page; the name counts in any spelling."""
    name = crowd.user()
    browser = crowd.browser()
    assert browser.sign_in(f"  {name.upper()} ").headers["location"] == "/account"
    page = browser.get("/account")
    assert page.status_code == 200 and name in page.text and "front-desk" in page.text


@pytest.mark.parametrize(
    "name, password",
    [
        (None, "wrong"),
        (None, ""),
        (None, PASSWORD + " "),
        (None, PASSWORD.upper()),
        (None, PASSWORD + "x" * 300),
        (None, "x" * 10_000),
        ("nobody at all", PASSWORD),
        ("", PASSWORD),
        ("x" * 5_000, PASSWORD),
        ("a\x00b", PASSWORD),
        ("' OR 1=1 --", PASSWORD),
        ('{"$ne": ""}', PASSWORD),
        ("<script>alert(1)</script>", PASSWORD),
    ],
)
def test_refused_alike(crowd: People, name: str | None, password: str) -> None:
    """Whatever is wrong, the answer is the same: 400, one sentence, no session, the name shown as text."""
    browser = crowd.browser()
    answer = browser.sign_in(crowd.user() if name is None else name, password)
    assert (answer.status_code, said(answer)) == (400, WRONG)
    assert "fhir-session" not in browser.cookies() and not browser.signed_in
    assert "<script>alert" not in answer.text


@pytest.fixture
def verifications(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The hashes that Argon2 has compared passwords with."""
    seen: list[str] = []
    real = passwords.PasswordHasher.verify

    def verify(self: Any, hash: str, password: str) -> bool:
        seen.append(hash)
        return real(self, hash, password)

    monkeypatch.setattr(passwords.PasswordHasher, "verify", verify)
    yield seen


def test_nobody_learns_who_has_an_account(crowd: People, verifications: list[str]) -> None:
    """A name that nobody has and a wrong password give one answer (status, headers, cookies, page), after the same work."""
    answers: list[tuple[int, dict[str, str], str]] = []
    for name in (crowd.user(), "somebody else"):
        browser = crowd.browser()
        page = browser.get(SIGN_IN)
        answer = browser.send(page, SIGN_IN, username=name, password="not the password")
        told = {key: value for key, value in answer.headers.items() if key not in ("date", "content-length", "x-request-id")}
        csrf = Found(answer.text).fields(SIGN_IN)["csrf"]
        answers.append((answer.status_code, told, answer.text.replace(name, "NAME").replace(csrf, "CSRF")))
    assert answers[0] == answers[1]
    assert len(verifications) == 2 and {each.partition("$argon2id$v=19$")[2][:14] for each in verifications} == {"m=19456,t=3,p="}


def guessed(crowd: People, name: str, browser: Browser) -> None:
    """Guess until the next try has to wait."""
    for _ in range(3):
        assert browser.sign_in(name, "wrong").status_code == 400


def test_signing_in_many_times_at_once(crowd: People, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user who signs in with several browsers at the same moment gets in with all of them."""
    monkeypatch.setattr(delays, "_PATIENCE", 30.0)
    name = crowd.user()
    browsers = [crowd.browser() for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda browser: browser.sign_in(name), browsers))
    assert [answer.status_code for answer in answers] == [303] * 8 and all(browser.signed_in for browser in browsers)


def test_guesses_have_to_wait_longer_and_longer(crowd: People) -> None:
    """After three wrong passwords each next try waits: 1, 2, 4 … seconds, told by Retry-After; a try meanwhile is not looked at."""
    name, browser = crowd.user(), crowd.browser()
    guessed(crowd, name, browser)
    waits = []
    for _ in range(12):
        answer = browser.sign_in(name)
        assert (answer.status_code, said(answer)) == (429, "There were too many tries. Try again later.")
        waits.append(int(answer.headers["retry-after"]))
        crowd.clock.later(waits[-1])
        assert browser.sign_in(name, "wrong").status_code == 400
    assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900]
    crowd.clock.later(900)
    assert browser.sign_in(name).status_code == 303
    assert crowd.browser().sign_in(name, "wrong").status_code == 400, "success does not clear the counter"


def test_a_second_is_waited_out_by_the_server(crowd: People, monkeypatch: pytest.MonkeyPatch) -> None:
    """A try that has to wait for a second is not refused but held, and looked at when the second is over."""
    monkeypatch.setattr(delays, "_PATIENCE", 30.0)
    name, browser = crowd.user(), crowd.browser()
    guessed(crowd, name, browser)
    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(browser.sign_in, name)
        time.sleep(0.3)
        assert not held.done()
        crowd.clock.later(1)
        assert held.result().status_code == 303


def test_names_that_nobody_has_wait_too(crowd: People) -> None:
    """Waiting tells nothing of who has an account."""
    browser = crowd.browser()
    guessed(crowd, "who could that be", browser)
    assert browser.sign_in("who could that be", "wrong").status_code == 429


def test_many_guesses_at_once_are_counted(crowd: People) -> None:
    """Tries that come at the same moment gain nothing: three are looked at."""
    name = crowd.user()
    browsers = [crowd.browser() for _ in range(10)]
    pages = [browser.get(SIGN_IN) for browser in browsers]
    with ThreadPoolExecutor(10) as pool:
        sent = [
            pool.submit(browser.send, page, SIGN_IN, username=name, password="wrong")
            for browser, page in zip(browsers, pages, strict=True)
        ]
        statuses = sorted(each.result().status_code for each in sent)
    assert statuses == [400] * 3 + [429] * 7


def test_nobody_can_keep_a_user_out(crowd: People) -> None:
    """Where the user has signed in before, tries count for that browser alone, whoever guesses elsewhere."""
    name, own, stranger = crowd.user(), crowd.browser(), crowd.browser()
    own.entered(name)
    guessed(crowd, name, stranger)
    assert crowd.browser().sign_in(name).status_code == 429
    assert own.sign_in(name).status_code == 303
    guessed(crowd, name, own)
    assert own.sign_in(name).status_code == 429, "the known browser may guess for ever"


def test_the_mark_of_a_known_browser_is_its_users_own(crowd: People) -> None:
    """The cookie of one user's browser, or one that was made up, spares nobody the wait for another user's name."""
    mine, other = crowd.user(), crowd.user()
    browser = crowd.browser().entered(mine)
    guessed(crowd, other, crowd.browser())
    assert browser.sign_in(other).status_code == 429
    browser.http.cookies.set("fhir-device", "bm90IHNlYWxlZA", domain="127.0.0.1")
    assert browser.sign_in(other).status_code == 429


def test_an_address_that_guesses_at_many_names_has_to_wait(crowd: People, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many failures from one address, at whatever names, slow it down, others go on; each minute one of them is forgotten."""
    monkeypatch.setattr(delays, "FREE_ADDRESS", 10)
    browser, number = crowd.browser(), itertools.count()

    def tried(times: int) -> list[int]:
        return [browser.sign_in(f"guess {next(number)}", "wrong").status_code for _ in range(times)]

    assert tried(11) == [400] * 10 + [429]
    assert crowd.browser().sign_in("guess 99", "wrong").status_code == 400
    name = crowd.user()
    crowd.clock.later(1)
    assert browser.sign_in(name).status_code == 303
    browser.http.cookies.clear()
    assert tried(2) == [400, 429], "a sign-in takes back no more than its own count"
    crowd.clock.later(5 * 60)
    assert tried(5) == [400] * 4 + [429]


@pytest.mark.parametrize(
    "address, other, same",
    [
        ("2001:db8:1:2::5", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::5", "2001:db8:1:3::5", False),
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("fe80::1%eth0", "fe80::1", True),
        ("", "unknown", False),
    ],
)
def test_what_counts_as_one_address(address: str, other: str, same: bool) -> None:
    """A network of IPv6 as one customer has it (/64) is one address, for whoever has one has 2^64 of them."""
    places = {_place(WebRequest("POST", "/", address=each)) for each in (address, other)}
    assert (len(places) == 1) is same


def test_hashes_are_made_anew(tmp_path: Path) -> None:
    """Once another cost is set, a user's next sign-in brings the stored hash to it; the password stays as it is."""
    folder = tmp_path / "rehashed"
    for memory in (19, 20):
        with people(folder, 1 if memory == 19 else 0, password_memory=memory, needing=0) as made:
            made.browser().entered("user0")
            stored = asyncio.run(_user(made.running.app._settings))
        assert stored.password.startswith(f"$argon2id$v=19$m={memory * 1024},t=3,p=1$") and stored.signed_in > 0


async def _user(settings: Settings) -> User:
    async with open_service(settings) as service:
        found = await find_user(service.store, "user0")
        assert found is not None
        return found


def test_a_session_is_new_with_each_sign_in(crowd: People) -> None:
    """A session that somebody put into the browser is not the one that signs in, and the earlier one is over."""
    name, browser = crowd.user(), crowd.browser()
    browser.http.cookies.set("fhir-session", "chosen-by-somebody-else-0123456789012345678", domain="127.0.0.1")
    browser.sign_in(name)
    first = [cookie.value for cookie in browser.http.cookies.jar if cookie.name == "fhir-session"][-1]
    assert first != "chosen-by-somebody-else-0123456789012345678"
    again = crowd.browser().entered(name)
    before = again.cookies()["fhir-session"]
    again.entered(name)
    old = crowd.browser()
    old.http.cookies.set("fhir-session", before, domain="127.0.0.1")
    assert again.cookies()["fhir-session"] != before and not old.signed_in


def test_sessions_end_by_themselves(crowd: People) -> None:
    """A session is over after 30 minutes without use, and 12 hours after sign-in however much it is used."""
    name = crowd.user()
    idle, busy = crowd.browser().entered(name), crowd.browser().entered(name)
    for minutes in range(0, 12 * 60 - 20, 20):
        assert busy.signed_in, f"after {minutes} minutes"
        crowd.clock.later(20 * 60)
        if minutes == 20:
            assert not idle.signed_in
    assert busy.signed_in
    crowd.clock.later(20 * 60)
    assert not busy.signed_in


def test_cookies(crowd: People) -> None:
    """Scripts do not see the cookies, other sites do not send them with their forms."""
    answer = crowd.browser().sign_in(crowd.user())
    set_cookies = answer.headers.get_list("set-cookie")
    assert [each.split("=")[0] for each in set_cookies] == ["fhir-session", "fhir-device"]
    for each in set_cookies:
        parts = {part.strip().lower() for part in each.split(";")[1:]}
        assert {"httponly", "samesite=lax", "path=/"} <= parts and not any(part.startswith("domain") for part in parts)


@pytest.mark.parametrize(
    "query",
    [
        "//evil.example",
        "https://evil.example/",
        "/\\evil.example",
        "a/../../b",
        "javascript:alert(1)",
        "x" * 200,
        "a b",
        "a\r\nSet-Cookie: a=b",
    ],
)
def test_no_way_out(crowd: People, query: str) -> None:
    """What is to follow sign-in is an id, never an address: anything else is refused, and no redirect leaves the server."""
    browser = crowd.browser()
    answer = browser.http.get(SIGN_IN, params={"request": query, "next": query, "notice": query})
    assert answer.status_code == 400 and "location" not in answer.headers and "evil" not in answer.text
    page = browser.get(SIGN_IN)
    answer = browser.send(page, SIGN_IN, username="nobody", password=PASSWORD, request=query)
    assert answer.status_code == 400 and "location" not in answer.headers


def test_what_apps_ask_for_goes_on(crowd: People) -> None:
    """The id of an app's request comes back after sign-in, on a path of this server."""
    browser = crowd.browser()
    page = browser.get(SIGN_IN, request="abc_123-DEF")
    answer = browser.send(page, SIGN_IN, username=crowd.user(), password=PASSWORD)
    assert answer.headers["location"] == "/oauth/consent?request=abc_123-DEF"


def test_signing_out(crowd: People) -> None:
    """The sign-out page asks, its form ends the session on the server, and the cookie goes."""
    browser = crowd.browser().entered(crowd.user())
    value = browser.cookies()["fhir-session"]
    asked = browser.get("/oauth/logout", id_token_hint="x", post_logout_redirect_uri="https://evil.example/")
    assert browser.signed_in and "evil" not in asked.text
    assert browser.send(asked, "/oauth/logout").status_code == 200
    assert "fhir-session" not in browser.cookies()
    thief = crowd.browser()
    thief.http.cookies.set("fhir-session", value, domain="127.0.0.1")
    assert not thief.signed_in


def test_sessions_are_listed_and_ended(crowd: People) -> None:
    """The account page shows where one is signed in, and ends one session or all others."""
    name = crowd.user()
    here, there, elsewhere = (crowd.browser().entered(name) for _ in range(3))
    page = here.get("/account")
    assert all(browser.address in page.text for browser in (here, there, elsewhere)) and page.text.count("this browser") == 1
    assert Found(page.text).forms[0][0] in ("/account/sessions", "/account/apps")
    ids = [fields["id"] for action, fields in Found(page.text).forms if action == "/account/sessions" and "id" in fields]
    assert len(ids) == 2
    csrf = Found(page.text).fields("/oauth/logout")["csrf"]
    here.post("/account/sessions", {"csrf": csrf, "id": ids[0]})
    assert (there.signed_in, elsewhere.signed_in).count(True) == 1
    here.post("/account/sessions", {"csrf": csrf})
    assert here.signed_in and not there.signed_in and not elsewhere.signed_in


@pytest.mark.parametrize(
    "agent, shown",
    [
        ("Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:140.0) Gecko/20100101 Firefox/140.0", "Firefox on Windows"),
        (
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36",
            "Chrome on Linux",
        ),
        ("Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 Chrome/140.0 Safari/537.36 Edg/140.0", "Edge on Windows"),
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 Version/18.0 Mobile Safari/604.1",
            "Safari on iPhone",
        ),
        ("Mozilla/5.0 (Linux; Android 15) AppleWebKit/537.36 Chrome/140.0 Mobile Safari/537.36", "Chrome on Android"),
        ("curl/8.0", "curl/8.0"),
        ("<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;"),
        ("x" * 500, "x" * 60 + "</bdi>"),
        ("", "An unknown browser"),
    ],
)
def test_browsers_are_named(crowd: People, agent: str, shown: str) -> None:
    """The list of sessions says which browser each is in, in words; whatever it calls itself is shown as text."""
    browser = crowd.browser()
    browser.http.headers["User-Agent"] = agent
    assert f"<bdi>{shown}" in browser.entered(crowd.user()).get("/account").text


def test_nobody_ends_the_sessions_of_others(crowd: People) -> None:
    """The id of somebody else's session ends nothing."""
    victim, browser = crowd.user(), crowd.browser().entered(crowd.user())
    target = crowd.browser().entered(victim)
    id = sha256(target.cookies()["fhir-session"].encode()).hexdigest()
    csrf = Found(browser.get("/account").text).fields("/oauth/logout")["csrf"]
    browser.post("/account/sessions", {"csrf": csrf, "id": id})
    assert target.signed_in


def test_https_cookies(tmp_path: Path) -> None:
    """Where browsers come over https, cookies are Secure and bound to this very host (`__Host-`)."""
    with people(tmp_path / "https", 1, base_url="https://fhir.example.org/fhir") as made:
        answer = httpx.get(f"{made.running.root}{SIGN_IN}")
        cookie = answer.headers["set-cookie"]
        assert cookie.startswith("__Host-fhir-browser=") and "secure" in cookie.lower() and "domain" not in cookie.lower()


def test_a_browser_is_no_other(crowd: People) -> None:
    """Two browsers never get the same cookie or token."""
    tokens = {Found(Browser(crowd.running.root).get(SIGN_IN).text).fields(SIGN_IN)["csrf"] for _ in range(3)}
    assert len(tokens) == 3
