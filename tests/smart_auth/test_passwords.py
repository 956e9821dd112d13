"""Passwords: which may be chosen, how they are kept, what changing one ends."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from people import PASSWORD, Found, People, said

from resources.store import RecordChange
from smart_auth.access import Access
from smart_auth.errors import OAuthError
from smart_auth.people import administration, passwords
from smart_auth.people.sessions import Session, kept, sessions_of
from smart_auth.settings import SignInSettings
from smart_auth.tokens import digest, issue
from smart_auth.users import LONGEST_NAME, normalised

SETTINGS = SignInSettings(password_memory=19)
GOOD = "quite another pass phrase"
CHANGE = "/account/password"


@pytest.mark.parametrize(
    "password, refused",
    [
        ("tiny", True),
        ("elevenchars", True),
        ("twelve chars", False),
        ("x" * 300, True),
        ("abcdefghij" * 26, True),
        ("administrator", True),
        ("ADMINISTRATOR", True),
        ("password1234", True),
        ("somebody@example.org", True),
        ("a.long.user.name", True),
        ("eman.resu.gnol.a", True),
        ("A.LONG.USER.NAME", True),
        ("aaaaaaaaaaaaaaaa", True),
        ("abababababababab", True),
        ("\uff50\uff41\uff53\uff53\uff57\uff4f\uff52\uff44\uff11\uff12\uff13\uff14", True),
        ("un long mot de pass\u00e9", False),
        ("\U0001f511 key \U0001f511 key \U0001f511", False),
    ],
)
def test_which_may_be_chosen(password: str, refused: bool) -> None:
    """Too short, too long, one's own name, one that everybody tries: refused with a sentence."""
    problem = passwords.problem(SETTINGS, password, "a.long.user.name", "somebody@example.org")
    assert (problem is not None) is refused
    assert problem is None or (problem.endswith(".") and password not in problem)


def test_how_they_are_kept() -> None:
    """As Argon2id with what is set; the same password is kept differently each time, and counts however characters are composed."""
    first, second = (asyncio.run(passwords.hashed(SETTINGS, "caf\u00e9 caf\u00e9 caf\u00e9")) for _ in range(2))
    assert first.startswith("$argon2id$v=19$m=19456,t=3,p=1$") and first != second
    assert asyncio.run(passwords.verified(SETTINGS, first, "cafe\u0301 cafe\u0301 cafe\u0301"))
    assert not asyncio.run(passwords.verified(SETTINGS, first, "cafe cafe cafe"))
    assert not asyncio.run(passwords.verified(SETTINGS, "", "cafe cafe cafe"))
    assert not asyncio.run(passwords.verified(SETTINGS, "not a hash", "cafe cafe cafe"))


@pytest.mark.parametrize("memory", [0, 18, 1_025])
def test_the_cost_has_a_floor(memory: int) -> None:
    """Nobody can set the memory below what OWASP names as the least."""
    with pytest.raises(ValueError):
        SignInSettings(password_memory=memory)


def test_too_many_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where more wait than may, the next is told to come back: memory for hashes has an end."""
    monkeypatch.setattr(passwords, "_places", threading.BoundedSemaphore(2))

    async def crowd() -> list[Any]:
        return await asyncio.gather(*(passwords.hashed(SETTINGS, GOOD) for _ in range(4)), return_exceptions=True)

    refused = [each for each in asyncio.run(crowd()) if isinstance(each, OAuthError)]
    assert len(refused) == 2 and {each.status for each in refused} == {503}
    assert asyncio.run(passwords.hashed(SETTINGS, GOOD)), "the places come back"


def test_hashes_follow_the_settings(crowd: People) -> None:
    """A hash that was made with other parameters counts, and is known as one to make anew."""
    old = asyncio.run(passwords.hashed(SignInSettings(password_memory=20), GOOD))
    assert asyncio.run(passwords.verified(SETTINGS, old, GOOD))
    assert passwords.outdated(SETTINGS, old) and not passwords.outdated(SignInSettings(password_memory=20), old)


def test_changing_it(crowd: People) -> None:
    """The new password counts and the old one does not; other sessions end, this one goes on."""
    name = crowd.user()
    here, there = crowd.browser().entered(name), crowd.browser().entered(name)
    answer = here.send(here.get("/account"), CHANGE, current=PASSWORD, password=GOOD)
    assert answer.headers["location"] == "/account?done=password"
    assert "Your password is changed." in here.get("/account", done="password").text and not there.signed_in
    assert crowd.browser().sign_in(name).status_code == 400
    crowd.browser().entered(name, GOOD)


@pytest.mark.parametrize(
    "current, new, sentence",
    [
        ("wrong", GOOD, "The current password is wrong."),
        ("", GOOD, "The current password is wrong."),
        (PASSWORD, "short", "The password is shorter than 12 characters."),
        (PASSWORD, "administrator", "The password is one of the first that somebody would try. Choose another one."),
    ],
)
def test_not_changing_it(crowd: People, current: str, new: str, sentence: str) -> None:
    """Without the current password, or with a new one that may not be chosen, all stays as it is."""
    name = crowd.user()
    here, there = crowd.browser().entered(name), crowd.browser().entered(name)
    answer = here.send(here.get("/account"), CHANGE, current=current, password=new)
    assert (answer.status_code, said(answer)) == (400, sentence) and there.signed_in
    assert _recorded(crowd, name) == (["4"] if "current" in sentence else [])
    crowd.browser().entered(name)


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """Has something done whenever a new password is hashed, which is between the looking up of its user and the storing."""

    def do(work: Callable[[], object]) -> None:
        real = passwords.hashed

        async def hashed(*given: Any) -> str:
            await asyncio.to_thread(work)
            return await real(*given)

        monkeypatch.setattr(passwords, "hashed", hashed)

    return do


def test_changing_it_while_somebody_signs_in(crowd: People, meanwhile: Callable[[Callable[[], object]], None]) -> None:
    """Whoever knows the password cannot keep its owner from changing it by signing in over and over, and is signed out like all others."""
    name = crowd.user()
    here, there = crowd.browser().entered(name), [crowd.browser() for _ in range(3)]
    meanwhile(lambda: [each.entered(name) for each in there])
    answer = here.send(here.get("/account"), CHANGE, current=PASSWORD, password=GOOD)
    assert answer.headers.get("location") == "/account?done=password", said(answer)
    assert here.signed_in and not any(each.signed_in for each in there)
    assert crowd.browser().sign_in(name).status_code == 400


def test_a_link_while_somebody_signs_in(crowd: People, meanwhile: Callable[[Callable[[], object]], None]) -> None:
    """The same holds for a new password by a link."""
    name, there, here = crowd.user(), crowd.browser(), crowd.browser()
    link = asyncio.run(_link(crowd, name))
    meanwhile(lambda: there.entered(name))
    answer = here.send(here.get(link), "/oauth/reset/password", password=GOOD)
    assert answer.headers.get("location") == "/oauth/sign-in?notice=password", said(answer)
    assert not there.signed_in
    here.entered(name, GOOD)


def test_administrators_while_somebody_signs_in(crowd: People, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor can anybody keep an account from being disabled."""
    name, there = crowd.user(), crowd.browser()
    real = administration.all_ended

    async def all_ended(*given: Any) -> list[RecordChange]:
        monkeypatch.setattr(administration, "all_ended", real)
        await asyncio.to_thread(there.entered, name)
        return await real(*given)

    monkeypatch.setattr(administration, "all_ended", all_ended)
    asyncio.run(_disabled(crowd, name))
    assert not there.signed_in and crowd.browser().sign_in(name).status_code == 400


def test_a_change_that_comes_second_is_no_guess(crowd: People, meanwhile: Callable[[Callable[[], object]], None]) -> None:
    """Where the account is changed at the same moment the password stays as it is, however often that is: 409, and no try is counted."""
    name = crowd.user()
    here, there = crowd.browser().entered(name), crowd.browser().entered(name)
    csrf = Found(there.get("/account").text).fields(CHANGE)["csrf"]
    meanwhile(lambda: there.post("/account/recovery-codes", {"csrf": csrf}))
    page = here.get("/account")
    assert [here.send(page, CHANGE, current=PASSWORD, password=GOOD).status_code for _ in range(6)] == [409] * 6
    crowd.browser().entered(name)


async def _link(crowd: People, name: str) -> str:
    async with crowd.service() as service:
        link = await administration.reset_link(service, name, "tests")
    return link[link.index("/oauth/") :]


async def _disabled(crowd: People, name: str) -> None:
    async with crowd.service() as service:
        await administration.disable(service, name, "tests")


def test_it_ends_thousands_of_sessions(crowd: People) -> None:
    """Also where there are more sessions than the store gives at once, a change of the password ends all of them but this one."""
    name = crowd.user()
    mine = crowd.browser().entered(name)
    cookies = asyncio.run(_sessions(crowd, name, 2_100))
    assert mine.send(mine.get("/account"), CHANGE, current=PASSWORD, password=GOOD).status_code == 303
    left = [value for value in cookies if mine.http.get("/account", headers={"Cookie": f"fhir-session={value}"}).status_code == 200]
    assert left == [] and mine.signed_in
    assert len(asyncio.run(_stored(crowd, name))) == 1


async def _sessions(crowd: People, name: str, count: int) -> list[str]:
    """So many sessions more; the cookies of some of them, the last ones in the order of their keys among them."""
    async with crowd.service() as service:
        made = {digest(f"{name} {n}"): f"{name} {n}" for n in range(count)}
        now = crowd.clock()
        keys = sorted(made)
        for first in range(0, count, 500):
            await service.commit(*(kept(service, Session(id, name, "csrf", now, now)) for id in keys[first : first + 500]))
        return [made[id] for id in (*keys[:: count // 7], keys[-1])]


async def _stored(crowd: People, name: str) -> list[Session]:
    async with crowd.service() as service:
        return await sessions_of(service, name)


async def _token(crowd: People) -> str:
    async with crowd.service() as service:
        later = crowd.clock() + 3_600_000_000
        token, record = issue(Access("tests", "tests", "system/AuditEvent.rs", later))
        await service.commit(record)
        return token


def _recorded(crowd: People, name: str) -> list[str]:
    """The outcomes of the AuditEvents of changes of the user's password that were refused."""
    token = asyncio.run(_token(crowd))
    url = f"{crowd.running.root}/fhir/AuditEvent?_sort=-_lastUpdated&_count=100"
    events = httpx.get(url, headers={"Authorization": f"Bearer {token}"}).json()["entry"]
    refusals = [each["resource"] for each in events if "change of the password refused" in each["resource"].get("outcomeDesc", "")]
    return [each["outcome"] for each in refusals if each["agent"][0]["who"]["identifier"]["value"] == name]


def test_the_current_password_cannot_be_guessed_there(crowd: People) -> None:
    """At the account page tries count too."""
    browser = crowd.browser().entered(crowd.user())
    page = browser.get("/account")
    statuses = [browser.send(page, CHANGE, current="wrong", password=GOOD).status_code for _ in range(4)]
    assert statuses == [400, 400, 400, 429]


@given(st.text(max_size=150))
def test_names_have_one_spelling(text: str) -> None:
    """Normalising twice changes nothing more, and what comes out is short and can be seen."""
    name = normalised(text)
    assert normalised(name) == name and len(name) <= LONGEST_NAME
    assert all(c == " " or c.isprintable() for c in name)
