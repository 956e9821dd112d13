"""The exchange of a code for tokens: what is refused, and that a code counts once."""

from typing import Any

import httpx
import msgspec
import pytest
from granting import alone
from walking import BACK, ERRORS, KINDS, App, Smart, at_once, challenge, refused

from resources.store import RecordChange
from smart_auth.issuing.authorization import CODE
from smart_auth.issuing.codes import Code
from smart_auth.service import Service
from smart_auth.tokens import digest

SCOPE = "openid offline_access user/Patient.rs"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("verifier", [None, "", "x" * 50, "CHALLENGE", "short", "ä" * 50, "x" * 129])
def test_the_verifier_must_be_the_one_of_the_challenge(smart: Smart, kind: str, verifier: str | None) -> None:
    """[D3, D4, D5, D6] Missing, empty, another one, or the challenge itself: invalid_grant, for every kind of client."""
    app = App(smart.root, kind, scope=SCOPE)
    code = smart.code(app)
    sent = challenge(app.verifier) if verifier == "CHALLENGE" else verifier
    refused(app.exchange(code, code_verifier=sent), "invalid_grant")
    refused(app.exchange(code), "invalid_grant")


@pytest.mark.parametrize("kind", KINDS)
def test_a_made_up_code(smart: Smart, kind: str) -> None:
    """[D1, D9] Exactly 400."""
    for code in ("BAD_CODE", "x" * 10_000, "ä", "a\x00b"):
        answer = App(smart.root, kind).exchange(code)
        refused(answer, "invalid_grant", "invalid_request")
        assert answer.status_code == 400
    refused(App(smart.root, kind).exchange(""), "invalid_request")


@pytest.mark.parametrize("kind", KINDS)
def test_an_unknown_client(smart: Smart, kind: str) -> None:
    """[D2] invalid_client, and the code of the real one stays good."""
    app = App(smart.root, kind, scope=SCOPE)
    code = smart.code(app)
    wrong = App(smart.root, kind, client="BAD_CLIENT_ID", verifier=app.verifier)
    answer = wrong.exchange(code)
    refused(answer, "invalid_client")
    assert (answer.status_code == 401) == ("www-authenticate" in answer.headers)
    assert app.exchange(code).status_code == 200


OTHERS: list[dict[str, Any]] = [
    {"redirect_uri": "https://app.example/other"},
    {"redirect_uri": BACK + "/"},
    {"redirect_uri": None},
]


@pytest.mark.parametrize("change", OTHERS)
def test_a_code_is_bound_to_its_redirect_uri(smart: Smart, change: dict[str, Any]) -> None:
    """[B11, D8, K4] The address must be repeated exactly, and the code is spent by trying."""
    app = App(smart.root, scope=SCOPE)
    code = smart.code(app)
    refused(app.exchange(code, **change), "invalid_grant")
    refused(app.exchange(code), "invalid_grant")


def test_a_code_is_bound_to_its_client(smart: Smart) -> None:
    """[B11, D8] Another client gets nothing for it, with the right verifier too."""
    app = App(smart.root, scope=SCOPE)
    other = App(smart.root, client="walk-other", verifier=app.verifier)
    refused(other.exchange(smart.code(app)), "invalid_grant")


@pytest.mark.parametrize("kind", KINDS)
def test_a_code_that_is_used_again_ends_what_came_of_it(smart: Smart, kind: str) -> None:
    """[D8, K1] The second use is refused, and access and refresh token of the first are good for nothing from then on."""
    app = App(smart.root, kind, scope=SCOPE)
    code = smart.code(app)
    tokens = app.exchange(code).json()
    assert smart.read("Patient/anna", tokens["access_token"]).status_code == 200
    refused(app.exchange(code), "invalid_grant")
    assert smart.read("Patient/anna", tokens["access_token"]).status_code == 401
    refused(app.refresh(tokens["refresh_token"]), "invalid_grant")


@pytest.mark.parametrize("kind", KINDS)
def test_of_eight_uses_at_once_one_counts(smart: Smart, kind: str) -> None:
    """[D8] Exactly one 200, whoever is first; and as the code was used again, its tokens have ended."""
    app = App(smart.root, kind, scope=SCOPE)
    code = smart.code(app)
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": BACK, "code_verifier": app.verifier}
    answers = alone(at_once([f"{smart.root}/oauth/token"] * 8, [app.proved(form) for _ in range(8)]))
    assert sorted(answer.status_code for answer in answers) == [200] + [400] * 7
    won = next(answer.json() for answer in answers if answer.status_code == 200)
    assert smart.read("Patient/anna", won["access_token"]).status_code == 401


def test_a_code_lives_a_minute(smart: Smart) -> None:
    """[B11, D8, K2] After that it is refused."""
    app = App(smart.root, scope=SCOPE)
    code = smart.code(app)

    async def a_minute_later(service: Service) -> None:
        record = await service.store.record(CODE, digest(code))
        assert record is not None and record.expires <= service.clock() + 60_000_000
        kept = msgspec.json.decode(record.value, type=Code)
        assert kept.until == record.expires
        older = msgspec.json.encode(msgspec.structs.replace(kept, until=kept.until - 60_000_000))
        await service.commit(RecordChange(CODE, record.key, older, record.revision, record.tags, record.expires))

    smart.at_store(a_minute_later)
    refused(app.exchange(code), "invalid_grant")


FORMS: list[tuple[dict[str, Any], int]] = [
    ({"json": {"grant_type": "authorization_code"}}, 400),
    ({"content": b"grant_type=authorization_code", "headers": {"Content-Type": "text/plain"}}, 400),
    ({"content": b"\xff\xfe=\xff", "headers": {"Content-Type": "application/x-www-form-urlencoded"}}, 400),
    ({"content": b"grant_type=refresh_token&grant_type=refresh_token&client_id=walk-public",
      "headers": {"Content-Type": "application/x-www-form-urlencoded"}}, 400),
    ({"content": b"x=" + b"y" * 70_000, "headers": {"Content-Type": "application/x-www-form-urlencoded"}}, 413),
    ({"content": b"client_id=walk-public&code=" + b"y" * 9_000, "headers": {"Content-Type": "application/x-www-form-urlencoded"}}, 400),
    ({"data": {}}, 400),
    ({"data": {"client_id": "walk-public"}}, 400),
    ({"data": {"client_id": "walk-public", "grant_type": "password", "username": "doc", "password": "x"}}, 400),
    ({"data": {"client_id": "walk-public", "grant_type": "client_credentials", "scope": "system/*.rs"}}, 400),
    ({"params": {"grant_type": "refresh_token", "refresh_token": "x", "client_id": "walk-public"}}, 400),
]  # fmt: skip


@pytest.mark.parametrize("request_, status", FORMS)
def test_what_is_no_form_of_ours(smart: Smart, request_: dict[str, Any], status: int) -> None:
    """[D9] JSON, repeated parameters, parameters in the URL, other grants: an error in JSON, never a 500."""
    answer = httpx.post(f"{smart.root}/oauth/token", **request_, timeout=30)
    assert answer.status_code == status, answer.text
    assert answer.json()["error"] in ERRORS


def test_the_endpoint_takes_post_only(smart: Smart) -> None:
    """GET would put secrets into URLs."""
    assert httpx.get(f"{smart.root}/oauth/token", params={"grant_type": "refresh_token"}).status_code == 405
