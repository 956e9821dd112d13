"""What is sent stays a value, wherever it is put: in no parameter, path, header or form does it become a part of a statement, a log line
or a header."""

import asyncio
import json
import secrets
from collections.abc import Iterator
from urllib.parse import quote

import httpx
import pytest
from granting import Browser, Form
from indexing.feed_harness import sweep
from services.mongo.database import database, dropped_sockets
from services.running import service
from walking import STANDALONE, App, Smart, walking

from conformance.load import definitions
from search.parameters import registry

STATEMENTS = (
    "' OR '1'='1",
    "1' OR 1=1--",
    "'; DROP TABLE item;--",
    '" OR ""="',
    "%' OR '%'='",
    "x') UNION SELECT value FROM record--",
    '{"$ne":null}',
    '{"$gt":""}',
    "';return true;var a='",
    "*",
    "\\",
    "$where",
    "1;sleep(5)",
    "${jndi:ldap://127.0.0.1/a}",
    "{{7*7}}",
)
"""Each is dangerous in one language of statements, and names nothing that is stored."""

UNLIMITED = {"rate_limit": "off", "rate_limit_oauth": "off", "rate_limit_authorize": "off", "rate_limit_sign_in": "off"}


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Smart]:
    """A server with two patients; no limits on rates, which would answer in its place."""
    with walking(tmp_path_factory.mktemp("attacked"), **UNLIMITED) as made:
        yield made


@pytest.fixture(scope="module", params=["embedded", "mongodb"])
def signing_in(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Smart]:
    """The same with users, clients and tokens in each kind of database that has a language of its own."""
    if request.param == "embedded":
        yield request.getfixturevalue("attacked")
        return
    prefix = f"attack{secrets.token_hex(4)}"
    engines = {"search_url": service("elasticsearch"), "search_prefix": prefix}
    with (
        database() as url,
        dropped_sockets(),
        walking(tmp_path_factory.mktemp("db"), store_url=url, **UNLIMITED, **engines) as made,
    ):
        yield made
    asyncio.run(sweep(engines["search_url"], prefix))


@pytest.fixture(scope="module")
def everything(attacked: Smart) -> Iterator[httpx.Client]:
    """A client that may see all, so that whatever a statement let through would be there to be seen."""
    token = attacked.tokens(App(attacked.root, scope="user/*.cruds"), "chief")["access_token"]
    with httpx.Client(base_url=f"{attacked.base}/", headers={"Authorization": f"Bearer {token}"}, timeout=60) as client:
        yield client


def pairs() -> list[tuple[str, str]]:
    """Every search parameter of the types that have documents here, but for those whose own language has OR (`_text`, `_content`)."""
    types = ("Patient", "Observation", "Encounter", "Practitioner", "Person", "RelatedPerson")
    return [(type, code) for type in types for code in sorted(registry().of(type)) if code not in ("_list", "_text", "_content")]


@pytest.mark.parametrize("statement", STATEMENTS)
def test_no_search_parameter_takes_a_statement(everything: httpx.Client, statement: str) -> None:
    """By every parameter, with every modifier that takes text, it finds nothing or is refused as a value; it never widens or breaks."""
    wrong = []
    for type, code in pairs():
        for modifier in ("", ":exact", ":contains") if registry().of(type)[code].type == "string" else ("",):
            answer = everything.get(f"{type}?{code}{modifier}={quote(statement, safe='')}&_count=0&_total=accurate")
            found = answer.json().get("total", 0)
            if answer.status_code not in (200, 400) or (answer.status_code == 200 and found):
                wrong.append((type, code, modifier, answer.status_code, found))
    assert wrong == []


@pytest.mark.parametrize("statement", STATEMENTS)
@pytest.mark.parametrize(
    "path",
    ["Patient/{}", "Patient/{}/_history", "Patient/anna/_history/{}", "{}", "Patient/{}/Observation",
     "Patient?_sort={}", "Patient?{}=x",

     "Patient?_id={}", "Patient?_cursor={}", "Patient?_include={}&_id=nobody", "Patient?_has:{}=1", "Patient?_filter={}",
     "Observation?patient.{}=x"],
)  # fmt: skip
def test_no_place_in_an_address_takes_a_statement(everything: httpx.Client, path: str, statement: str) -> None:
    """Nothing is found at it, and it is the caller's fault, not ours."""
    answer = everything.get(path.format(quote(statement, safe="")))
    assert answer.status_code in (200, 400, 404, 405), answer.text
    if answer.status_code == 200:
        assert answer.json().get("entry", []) == []


@pytest.mark.parametrize(
    "header", ["If-Match", "If-None-Match", "If-None-Exist", "Prefer", "Idempotency-Key", "X-Request-Id", "Accept"]
)
def test_no_header_takes_a_statement(everything: httpx.Client, header: str) -> None:
    """Requests that change things are refused or done as if it were not there; what was there is still there."""
    for statement in STATEMENTS:
        body = json.dumps({"resourceType": "Basic", "code": {"text": "x"}})
        sent = {"Content-Type": "application/fhir+json", header: statement}
        answer = everything.post("Basic", content=body, headers=sent)
        assert answer.status_code < 500, (statement, answer.text)
    assert everything.get("Patient?_summary=count").json()["total"] == 3


@pytest.mark.parametrize("statement", STATEMENTS)
def test_nobody_signs_in_with_a_statement(signing_in: Smart, statement: str) -> None:
    """Neither as a user's name nor as a password, nor by fields that a careless database would take for operators."""
    for fields in (
        {"username": statement, "password": statement},
        {"username": "anna", "password": statement},
        {"username[$ne]": statement, "username": "anna", "password[$regex]": ".*", "$where": "1"},
    ):
        browser = Browser(signing_in.root)
        with browser.http:
            page = browser.http.get("/oauth/sign-in")
            answer = browser.http.post(
                "/oauth/sign-in",
                data=Form(page).hidden | fields,
                headers={"Origin": signing_in.root, "Sec-Fetch-Site": "same-origin"},
            )
            assert answer.status_code in (200, 400, 401, 403, 429), answer.text
            assert "session" not in browser.http.cookies or browser.http.get("/account").status_code != 200


@pytest.mark.parametrize("statement", STATEMENTS)
def test_no_parameter_of_oauth_takes_a_statement(signing_in: Smart, statement: str) -> None:
    """Clients, codes, tokens, scopes, redirect addresses, requests and launches are looked up as they are written, or refused."""
    app = App(signing_in.root)
    for name in app.request():
        if name == "state":
            continue
        answer = httpx.get(f"{signing_in.root}/oauth/authorize", params=app.request(**{name: statement}))
        assert answer.status_code in (303, 400, 401), (name, answer.text)
        assert "code=" not in answer.headers.get("location", "")
    for form in (
        {"grant_type": "authorization_code", "code": statement, "redirect_uri": app.redirect_uri, "code_verifier": app.verifier},
        {"grant_type": "refresh_token", "refresh_token": statement},
        {"grant_type": statement},
        {"grant_type": "client_credentials", "scope": statement, "client_assertion": statement, "client_assertion_type": statement},
    ):
        for client in ("walk-public", statement):
            answer = httpx.post(f"{signing_in.root}/oauth/token", data={**form, "client_id": client})
            assert answer.status_code in (400, 401), answer.text
            assert "access_token" not in answer.json()
    bearer = {"Authorization": f"Bearer {quote(statement, safe='')}"}
    assert httpx.get(f"{signing_in.base}/Patient/anna", headers=bearer).status_code == 401


def test_state_comes_back_as_it_was_and_nothing_else_is_added(signing_in: Smart) -> None:
    """[K5] Line breaks, quotes and separators in `state` stay inside of it: no header and no parameter is made of them."""
    for state in ("a\r\nSet-Cookie: x=y", "a&code=stolen", 'a"<b>', "ä€😀", "a b+c%20d", "#fragment", "a;b=c"):
        app = App(signing_in.root, state=state, scope=STANDALONE)
        answer = signing_in.authorize(app, prompt="none", user="anna")
        location = httpx.URL(answer.headers["location"])
        assert location.params.get_list("state") == [state]
        assert len(location.params.get_list("code") + location.params.get_list("error")) == 1
        assert location.fragment == ""
        assert "x=y" not in answer.headers.get("set-cookie", "")


def test_every_type_of_resource_is_a_known_one() -> None:
    """What stands where a type is expected reaches the engines only if it is one of R4's names."""
    assert all(name.isalpha() and name.isascii() for name in registry().types)
    assert len(registry().types) >= 140
    assert definitions().compartments
