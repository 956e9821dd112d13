"""Refresh tokens: each counts once, used again it ends everything; never more than was granted."""

import uuid

import httpx
import msgspec
import pytest
from granting import PASSWORD, Browser, Form, alone, answered
from walking import KINDS, STANDALONE, App, Smart, at_once, refused

from resources.store import RecordChange
from smart_auth.access import Access
from smart_auth.people import administration
from smart_auth.server.authorizations import authorizations_of, revoke_authorization
from smart_auth.service import Service
from smart_auth.tokens import KIND as ACCESS_TOKEN
from smart_auth.tokens import digest
from smart_auth.users import User, kept


@pytest.mark.parametrize("kind", KINDS)
def test_a_refresh_brings_the_next(smart: Smart, kind: str) -> None:
    """[E1, E2, E3, E4, E5] Without a scope, and with the one that was granted: new tokens for the same, which work, and so on."""
    app = App(smart.root, kind)
    first = smart.tokens(app)
    given = first["refresh_token"]
    for scope in (None, first["scope"], STANDALONE):
        answer = app.refresh(given, scope=scope)
        assert answer.status_code == 200, answer.text
        assert "no-store" in answer.headers["cache-control"] and "no-cache" in answer.headers["pragma"]
        body = answer.json()
        assert (body["token_type"], body["expires_in"], body["scope"], body["patient"]) == ("Bearer", 3600, STANDALONE, "anna")
        assert smart.read("Patient/anna", body["access_token"]).status_code == 200
        assert body["refresh_token"] != given
        given = body["refresh_token"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_made_up_refresh_token(smart: Smart, kind: str) -> None:
    """[E6] invalid_grant for every kind of client; invalid_request where there is none."""
    for made_up in (str(uuid.uuid4()), "x" * 5_000, "ä", "a\x00"):
        refused(App(smart.root, kind).refresh(made_up), "invalid_grant")
    refused(App(smart.root, kind).refresh(""), "invalid_request")


@pytest.mark.parametrize("kind", KINDS)
def test_a_refresh_token_that_is_used_again_ends_everything(smart: Smart, kind: str) -> None:
    """The second use is refused, and neither the tokens before nor those after it count any more."""
    app = App(smart.root, kind)
    first = smart.tokens(app)
    second = app.refresh(first["refresh_token"]).json()
    refused(app.refresh(first["refresh_token"]), "invalid_grant")
    refused(app.refresh(second["refresh_token"]), "invalid_grant")
    for tokens in (first, second):
        assert smart.read("Patient/anna", tokens["access_token"]).status_code == 401


@pytest.mark.parametrize("kind", KINDS)
def test_of_eight_refreshes_at_once_one_counts(smart: Smart, kind: str) -> None:
    """Exactly one 200; and as the token was in more than one hand, everything has ended."""
    app = App(smart.root, kind)
    given = smart.tokens(app)["refresh_token"]
    form = {"grant_type": "refresh_token", "refresh_token": given}
    answers = alone(at_once([f"{smart.root}/oauth/token"] * 8, [app.proved(form) for _ in range(8)]))
    assert sorted(answer.status_code for answer in answers) == [200] + [400] * 7
    won = next(answer.json() for answer in answers if answer.status_code == 200)
    assert smart.read("Patient/anna", won["access_token"]).status_code == 401
    refused(app.refresh(won["refresh_token"]), "invalid_grant")


def test_another_clients_refresh_token(smart: Smart) -> None:
    """[K12] It is refused, and stays good for its own client."""
    app = App(smart.root)
    given = smart.tokens(app)["refresh_token"]
    refused(App(smart.root, client="walk-other").refresh(given), "invalid_grant")
    assert app.refresh(given).status_code == 200


WIDER = [
    "patient/*.rs",
    "patient/Patient.cruds",
    "patient/Condition.rs",
    "user/Patient.rs",
    "system/*.rs",
    "openid profile",
    "launch/encounter",
    "online_access",
    "patient/Patient.rs made-up",
    "made-up",
    " ".join(["openid"] * 300),
]


@pytest.mark.parametrize("scope", WIDER)
def test_a_refresh_never_widens(smart: Smart, scope: str) -> None:
    """[K13] invalid_scope for anything that the user has not granted, which is named; the refresh token is not spent by it."""
    app = App(smart.root)
    given = smart.tokens(app)["refresh_token"]
    answer = app.refresh(given, scope=scope)
    refused(answer, "invalid_scope")
    named = answer.json()["error_description"]
    assert named.partition(": ")[0] in scope.split() or (scope.count(" ") > 200 and "more than 200 parts" in named)
    assert app.refresh(given).status_code == 200


def test_a_narrowed_refresh_is_for_one_access_token(smart: Smart) -> None:
    """The access token has less and can do less; the next refresh can have all again (RFC 6749, 6)."""
    app = App(smart.root)
    narrow = app.refresh(smart.tokens(app)["refresh_token"], scope="patient/Patient.r launch/patient").json()
    assert set(narrow["scope"].split(" ")) == {"patient/Patient.r", "launch/patient"}
    assert smart.read("Patient/anna", narrow["access_token"]).status_code == 200
    assert smart.read("Observation?patient=anna", narrow["access_token"]).status_code == 403
    assert app.refresh(narrow["refresh_token"]).json()["scope"] == STANDALONE


def test_no_refresh_token_without_asking(smart: Smart) -> None:
    """Neither offline_access nor online_access: an access token only."""
    assert "refresh_token" not in smart.tokens(App(smart.root, scope="openid user/Patient.rs"))


@pytest.mark.parametrize("scope, after", [("online_access", 400), ("offline_access", 200), ("online_access offline_access", 200)])
def test_online_access_ends_with_the_sign_in(smart: Smart, scope: str, after: int) -> None:
    """The refresh token of online_access is refused once the user has signed out, that of offline_access is not."""
    browser, app = Browser(smart.root), App(smart.root, scope=f"openid user/Patient.rs {scope}")
    page = browser.sign_in(browser.http.get("/oauth/authorize", params=app.request(), follow_redirects=True), "doc")
    tokens = app.exchange(answered(browser.decide(page))["code"]).json()
    tokens = app.refresh(tokens["refresh_token"]).json()
    out = browser.http.get("/oauth/logout")
    assert browser.post("/oauth/logout", Form(out).hidden).status_code == 200
    assert app.refresh(tokens["refresh_token"]).status_code == after
    browser.http.close()


def test_revoked_by_the_user(smart: Smart) -> None:
    """[E7, E8, K14] What a user takes back has ended: access token 401, refresh token refused."""
    app = App(smart.root, scope="offline_access user/Patient.rs")
    tokens = smart.tokens(app, "chief")

    async def revoked(service: Service) -> None:
        for each in await authorizations_of(service, "chief"):
            if each.client == app.client:
                assert await revoke_authorization(service, each.id)
                assert not await revoke_authorization(service, each.id)

    smart.at_store(revoked)
    refused(app.refresh(tokens["refresh_token"]), "invalid_grant")
    assert smart.read("Patient/anna", tokens["access_token"]).status_code == 401


def test_a_user_who_is_disabled_refreshes_nothing(smart: Smart) -> None:
    """invalid_grant from the moment on."""
    app = App(smart.root, scope="offline_access user/Patient.rs")

    async def added(service: Service) -> None:
        await administration.add(service, User("temp", "practitioner"), PASSWORD, "tests")

    async def disabled(service: Service) -> None:
        await administration.disable(service, "temp", "tests")

    smart.at_store(added)
    tokens = smart.tokens(app, "temp")
    smart.at_store(disabled)
    refused(app.refresh(tokens["refresh_token"]), "invalid_grant")


def test_a_role_that_shrinks_takes_scopes_along(smart: Smart) -> None:
    """A refresh gives what the role may have now; what is left of the grant, no more."""
    app = App(smart.root, scope="offline_access user/Patient.rs user/Observation.rs")

    async def added(service: Service) -> None:
        await administration.add(service, User("moved", "practitioner"), PASSWORD, "tests")

    async def moved(service: Service) -> None:
        user = await administration.get(service, "moved")
        await service.commit(kept(user.having(role="front-desk")))

    smart.at_store(added)
    tokens = smart.tokens(app, "moved")
    smart.at_store(moved)
    assert app.refresh(tokens["refresh_token"]).json()["scope"] == "offline_access user/Patient.rs"


def test_the_store_has_no_token(smart: Smart) -> None:
    """Codes and tokens are kept as their hashes."""
    app = App(smart.root)
    tokens = smart.tokens(app)
    for name in ("access_token", "refresh_token"):
        for path in smart.settings.data_dir.iterdir():
            if path.is_file():
                assert tokens[name].encode() not in path.read_bytes()


def test_an_access_token_expires(smart: Smart) -> None:
    """[K14] From that instant on it is 401 at the FHIR interface and at userinfo, while the refresh token is good."""
    app = App(smart.root, scope="openid offline_access user/Patient.rs")
    tokens = smart.tokens(app)
    assert tokens["expires_in"] == 3600

    async def an_hour_later(service: Service) -> None:
        record = await service.store.record(ACCESS_TOKEN, digest(tokens["access_token"]))
        assert record is not None and 0 < record.expires - service.clock() <= 3_600_000_000
        older = msgspec.structs.replace(msgspec.json.decode(record.value, type=Access), expires=service.clock())
        change = RecordChange(ACCESS_TOKEN, record.key, msgspec.json.encode(older), record.revision, record.tags, record.expires)
        await service.commit(change)

    smart.at_store(an_hour_later)
    assert smart.read("Patient/anna", tokens["access_token"]).status_code == 401
    headers = {"Authorization": f"Bearer {tokens['access_token']}"}
    assert httpx.get(f"{smart.root}/oauth/userinfo", headers=headers).status_code == 401
    assert app.refresh(tokens["refresh_token"]).status_code == 200


def test_a_public_app_need_not_say_who_it_is(smart: Smart) -> None:
    """[E1] A refresh without client_id, as fhirclient.js sends it; other kinds of client always prove themselves."""
    form = {"grant_type": "refresh_token", "refresh_token": smart.tokens(App(smart.root))["refresh_token"]}
    again = httpx.post(f"{smart.root}/oauth/token", data=form)
    assert again.status_code == 200, again.text
    refused(httpx.post(f"{smart.root}/oauth/token", data=form), "invalid_grant")
    refused(httpx.post(f"{smart.root}/oauth/token", data=form | {"refresh_token": "made-up"}), "invalid_grant")
    for kind in ("confidential", "asymmetric"):
        app = App(smart.root, kind)
        given = smart.tokens(app)["refresh_token"]
        for more in ({}, {"client_id": app.client}):
            refused(httpx.post(f"{smart.root}/oauth/token", data=form | {"refresh_token": given} | more), "invalid_client")
        assert app.refresh(given).status_code == 200
