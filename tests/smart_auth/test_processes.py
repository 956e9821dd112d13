"""Several server processes on one store: what counts once counts once for all of them, and what was revoked is revoked everywhere."""

import time
from collections.abc import Iterator

import httpx
import pytest
from api.conftest import Running
from granting import alone
from walking import KINDS, App, Smart, at_once, refused

SCOPE = "openid offline_access user/Patient.rs"


@pytest.fixture(scope="module")
def second(smart: Smart) -> Iterator[str]:
    """The address of another server on the same data folder."""
    chosen = {
        "auth": "smart",
        "base_url": smart.base,
        "rate_limit_oauth": "off",
        "rate_limit_authorize": "off",
        "password_memory": 19,
    }
    running = Running(smart.settings.data_dir, **chosen)
    running.start()
    yield running.root
    running.stop()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("what", ["code", "refresh_token"])
def test_used_at_once_in_two_processes(smart: Smart, second: str, kind: str, what: str) -> None:
    """Four uses in each of two processes at the same moment: exactly one 200, and in the end no token of it is good."""
    app = App(smart.root, kind, scope=SCOPE)
    if what == "code":
        form = {
            "grant_type": "authorization_code",
            "code": smart.code(app),
            "redirect_uri": app.redirect_uri,
            "code_verifier": app.verifier,
        }
    else:
        form = {"grant_type": "refresh_token", "refresh_token": smart.tokens(app)["refresh_token"]}
    places = [f"{root}/oauth/token" for root in (smart.root, second) for _ in range(4)]
    answers = alone(at_once(places, [app.proved(form) for _ in places]))
    assert sorted(answer.status_code for answer in answers) == [200] + [400] * 7
    won = next(answer.json() for answer in answers if answer.status_code == 200)
    refused(app.refresh(won["refresh_token"]), "invalid_grant")
    assert smart.read("Patient/anna", won["access_token"]).status_code == 401


def test_a_revocation_is_seen_everywhere_within_a_second(smart: Smart, second: str) -> None:
    """A token that another process has just found good is 401 there after a second at most; in the revoking process at once."""
    app = App(smart.root, scope=SCOPE)
    code = smart.code(app)
    token = app.exchange(code).json()["access_token"]
    headers = {"Authorization": f"Bearer {token}"}
    for root in (smart.root, second):
        assert httpx.get(f"{root}/fhir/Patient/anna", headers=headers).status_code == 200
    refused(app.exchange(code), "invalid_grant")
    assert smart.read("Patient/anna", token).status_code == 401
    time.sleep(1.01)
    assert httpx.get(f"{second}/fhir/Patient/anna", headers=headers).status_code == 401


def test_one_process_signs_and_the_other_tells_the_key(smart: Smart, second: str) -> None:
    """Both have the same keys."""
    ours, theirs = (httpx.get(f"{root}/oauth/jwks").json() for root in (smart.root, second))
    assert ours == theirs and ours["keys"]
