"""A standalone launch and what follows it, its records kept in PostgreSQL and in MongoDB: what counts once, counts once there too."""

from collections.abc import Iterator
from secrets import token_hex

import httpx
import pytest
from granting import DOCUMENTS, alone
from services.mongo.database import database as mongo_database
from services.postgres.database import database as postgres_database
from services.running import service
from walking import KINDS, STANDALONE, App, Smart, at_once, refused, walking

DATABASES = {"postgres": postgres_database, "mongo": mongo_database}


@pytest.fixture(scope="module", params=DATABASES)
def elsewhere(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Smart]:
    """Users, apps of all kinds and patients, in an empty database of their own, with indices of their own."""
    documents = [each for each in DOCUMENTS if each["resourceType"] == "Patient"]  # each type takes Elasticsearch an index
    with DATABASES[request.param]() as url:
        index = {"search_url": service("elasticsearch"), "search_prefix": f"walks{token_hex(4)}", "search_wait": 60.0}
        with walking(tmp_path_factory.mktemp(request.param), documents=documents, store_url=url, **index) as made:
            yield made


def read(smart: Smart, access_token: str) -> int:
    """The status of a read of the patient whom the app was launched for."""
    return smart.read("Patient/anna", access_token).status_code


@pytest.mark.parametrize("kind", KINDS)
def test_a_launch_refreshes_and_reuse_ends_it(elsewhere: Smart, kind: str) -> None:
    """Sign-in, picker, consent, code, tokens; each refresh brings the next; the first one's second use ends all that came of it."""
    app = App(elsewhere.root, kind)
    tokens = [elsewhere.tokens(app)]
    assert (tokens[0]["scope"], tokens[0]["patient"]) == (STANDALONE, "anna")
    for _ in range(2):
        answer = app.refresh(tokens[-1]["refresh_token"])
        assert answer.status_code == 200, answer.text
        tokens.append(answer.json())
    assert {read(elsewhere, each["access_token"]) for each in tokens} == {200}
    assert elsewhere.read("Condition", tokens[-1]["access_token"]).status_code == 403
    refused(app.refresh(tokens[0]["refresh_token"]), "invalid_grant")
    refused(app.refresh(tokens[-1]["refresh_token"]), "invalid_grant")
    assert {read(elsewhere, each["access_token"]) for each in tokens} == {401}


def test_a_code_that_is_used_again_ends_what_it_brought(elsewhere: Smart) -> None:
    """The second exchange is refused, and the tokens of the first are good for nothing."""
    app = App(elsewhere.root)
    code = elsewhere.code(app)
    tokens = app.exchange(code).json()
    assert read(elsewhere, tokens["access_token"]) == 200
    refused(app.exchange(code), "invalid_grant")
    assert read(elsewhere, tokens["access_token"]) == 401


def test_of_eight_refreshes_at_once_one_is_answered(elsewhere: Smart) -> None:
    """Exactly one 200, whichever transaction of the database comes first; and as it was used again, all has ended."""
    app = App(elsewhere.root)
    form = {"grant_type": "refresh_token", "refresh_token": elsewhere.tokens(app)["refresh_token"]}
    answers = alone(at_once([f"{elsewhere.root}/oauth/token"] * 8, [app.proved(form) for _ in range(8)]))
    assert sorted(answer.status_code for answer in answers) == [200] + [400] * 7
    [won] = [answer.json() for answer in answers if answer.status_code == 200]
    assert read(elsewhere, won["access_token"]) == 401
    refused(app.refresh(won["refresh_token"]), "invalid_grant")


@pytest.mark.parametrize(("token", "refreshed"), [("access_token", 200), ("refresh_token", 400)])
def test_what_an_app_gives_back_has_ended(elsewhere: Smart, token: str, refreshed: int) -> None:
    """An access token alone, or with the refresh token everything that was granted (RFC 7009)."""
    app = App(elsewhere.root, "confidential")
    tokens = elsewhere.tokens(app)
    assert read(elsewhere, tokens["access_token"]) == 200
    answer = httpx.post(f"{elsewhere.root}/oauth/revoke", **app.proved({"token": tokens[token]}))
    assert (answer.status_code, answer.text) == (200, "")
    assert read(elsewhere, tokens["access_token"]) == 401
    assert app.refresh(tokens["refresh_token"]).status_code == refreshed
