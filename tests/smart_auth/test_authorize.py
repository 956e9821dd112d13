"""/oauth/authorize: what it refuses, and how: by a redirect to the app, or a page where it is not certain that it is the app's address."""

from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest
from granting import Browser
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from walking import BACK, App, Smart, answered, challenge

from smart_auth.server.pending import KIND as PENDING
from smart_auth.service import Service
from smart_auth.tokens import digest

LONG = "x" * 5_000
REFUSED: list[tuple[dict[str, str | None], str]] = [
    ({"aud": "https://inferno.healthit.gov/invalid_aud"}, "invalid_request"),
    ({"aud": None}, "invalid_request"),
    ({"aud": "http://127.0.0.1:1/fhir"}, "invalid_request"),
    ({"state": None}, "invalid_request"),
    ({"state": ""}, "invalid_request"),
    ({"state": LONG}, "invalid_request"),
    ({"response_type": None}, "invalid_request"),
    ({"response_type": "token"}, "unsupported_response_type"),
    ({"response_type": "code id_token"}, "unsupported_response_type"),
    ({"response_mode": "fragment"}, "invalid_request"),
    ({"code_challenge": None}, "invalid_request"),
    ({"code_challenge_method": "plain"}, "invalid_request"),
    ({"code_challenge_method": None}, "invalid_request"),
    ({"code_challenge": "short"}, "invalid_request"),
    ({"code_challenge": challenge("x") + "="}, "invalid_request"),
    ({"scope": None}, "invalid_scope"),
    ({"scope": "made-up system/*.rs"}, "invalid_scope"),
    ({"scope": "patient/Observation.sr"}, "invalid_scope"),
    ({"scope": " ".join(f"openid{n}" for n in range(300))}, "invalid_scope"),
    ({"prompt": "dance"}, "invalid_request"),
    ({"prompt": "none login"}, "invalid_request"),
    ({"max_age": "soon"}, "invalid_request"),
    ({"max_age": "-1"}, "invalid_request"),
    ({"launch": "x"}, "invalid_request"),
    ({"request": "x.y.z"}, "request_not_supported"),
    ({"request_uri": "https://a.example/r"}, "request_uri_not_supported"),
    ({"nonce": LONG}, "invalid_request"),
    ({"scope": " ".join(f"patient/Observation.rs?code={n:060}" for n in range(50)), "state": "\u00e9" * 2_100}, "invalid_request"),
]


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("change, error", REFUSED)
def test_the_app_is_told_what_is_wrong(smart: Smart, change: dict[str, str | None], error: str, method: str) -> None:
    """[B6, D7, D8, K3] A redirect with the error of RFC 6749 (4.1.2.1), the state and the issuer, and never a code."""
    app = App(smart.root)
    told = answered(smart.authorize(app, method=method, **change))
    assert told["error"] == error and "code" not in told
    assert told["iss"] == smart.root
    state = change.get("state", app.state)
    assert told.get("state") == (state if state and len(state) < 5_000 else None)
    assert told["error_description"].isascii() and not set(told["error_description"]) & set('"\\')


WHY: list[tuple[str, str, str]] = [
    ("walk-public", "made-up", "made-up: no scope that is known here"),
    ("walk-public", "system/*.rs", "system/*.rs: system/ scopes are for backend services"),
    ("walk-public", "patient/Teapot.rs", "patient/Teapot.rs: FHIR R4 has no resource type Teapot"),
    ("walk-public", "patient/Observation.sr", "patient/Observation.sr: the letters come once each and in the order cruds"),
    ("walk-public", "patient/Observation.rx", "patient/Observation.rx: what may be done is some of the letters cruds"),
    ("walk-public", "patient/Observation", "patient/Observation: it does not say what may be done"),
    ("walk-public", "patient/observation.rs", "patient/observation.rs: the type is not written as one"),
    ("walk-public", "patient/*.rs?category=x", "patient/*.rs?category=x: only a scope for one type"),
    ("walk-public", "patient/Observation.read?category=x", "patient/Observation.read?category=x: only a scope for one type"),
    ("walk-public", "patient/Observation.rs?category=", "patient/Observation.rs?category=: type or search is not written as such"),
    ("walk-public", "patient/Observation.rs?colour=red", "patient/Observation.rs?colour=red: "),
    ("walk-public", "launch", "launch: it counts only with the parameter launch"),
    ("walk-ehr-public", "smart/orchestrate_launch", "smart/orchestrate_launch: only clients with a secret or a key may"),
    ("walk-little", "patient/Condition.rs", "patient/Condition.rs: this client is not registered for it"),
    ("walk-little", "offline_access", "offline_access: this client is not registered for it"),
    ("walk-public", "a b c d e f g", "e: no scope that is known here; and 2 more"),
    ("walk-public", 'x"\\<\u00e4\n>', "x<>: no scope that is known here"),
]


@pytest.mark.parametrize("client, scope, why", WHY)
def test_the_app_is_told_why_a_scope_is_none(smart: Smart, client: str, scope: str, why: str) -> None:
    """Where nothing is left, each scope is named with what is wrong with it."""
    told = answered(smart.authorize(App(smart.root, client=client), scope=scope))
    assert told["error"] == "invalid_scope" and why in told["error_description"]
    assert told["error_description"].isascii() and not set(told["error_description"]) & set('"\\')


def test_an_unknown_search_parameter_is_named(smart: Smart) -> None:
    """The parameter that the type does not have is named, with the scope."""
    told = answered(smart.authorize(App(smart.root), scope="patient/Observation.rs?colour=red"))
    assert "colour" in told["error_description"].partition(": ")[2].partition(": ")[2]


NOWHERE: list[dict[str, str | None]] = [
    {"redirect_uri": "https://evil.example/back"},
    {"redirect_uri": BACK + "/"},
    {"redirect_uri": BACK + "?x=1"},
    {"redirect_uri": BACK.upper()},
    {"redirect_uri": "https://app.example:443/back"},
    {"redirect_uri": "https://app.example/back#x"},
    {"redirect_uri": "javascript:alert(1)"},
    {"redirect_uri": "https://app.example@evil.example/back"},
    {"redirect_uri": ""},
    {"redirect_uri": None},
    {"client_id": "unknown"},
    {"client_id": 'a"b\\c'},
    {"client_id": None},
    {"client_id": "walk-off"},
    {"client_id": "x" * 1_000},
]


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("change", NOWHERE)
def test_nobody_is_sent_to_an_address_that_is_not_registered(smart: Smart, change: dict[str, str | None], method: str) -> None:
    """[B10, K4] A page says so, without a redirect, whatever else is right or wrong."""
    for more in ({}, {"response_type": "token"}):
        answer = smart.authorize(App(smart.root), method=method, **(change | more))
        assert answer.status_code == 400 and "location" not in answer.headers
        assert answer.headers["content-type"].startswith("text/html")
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]


LOOPBACK = [
    ("walk-native", "http://127.0.0.1/cb", True),
    ("walk-native", "http://127.0.0.1:51004/cb", True),
    ("walk-native", "http://[::1]:9/cb?a=b", True),
    ("walk-native", "com.example.app:/cb", True),
    ("walk-native", "http://127.0.0.1:51004/other", False),
    ("walk-native", "http://127.0.0.1:51004/cb?x", False),
    ("walk-native", "http://localhost:51004/cb", False),
    ("walk-native", "https://127.0.0.1:51004/cb", False),
    ("walk-native", "http://127.0.0.1:80@evil.example/cb", False),
    ("walk-native", "http://127.0.0.1:999999/cb", False),
    ("walk-native", "http://127.0.0.1.evil.example/cb", False),
    ("walk-native", "com.example.app:/other", False),
    ("walk-web", "http://127.0.0.1/cb", True),
    ("walk-web", "http://127.0.0.1:51004/cb", False),
]


@pytest.mark.parametrize("client, uri, good", LOOPBACK)
def test_an_app_on_the_users_machine_chooses_its_port(smart: Smart, client: str, uri: str, good: bool) -> None:
    """Public clients on loopback addresses, and only the port (RFC 8252, 7.3)."""
    asked = App(smart.root, client=client, redirect_uri=uri).request(aud=None)
    answer = smart.browser("doc").http.get("/oauth/authorize", params=asked)
    assert answer.status_code == (303 if good else 400)
    if good:
        assert answer.headers["location"].startswith(uri + ("&" if "?" in uri else "?"))


@pytest.mark.parametrize("name", ["scope", "state", "aud", "code_challenge", "response_type", "nonce", "unheard_of"])
def test_what_is_there_twice_is_refused(smart: Smart, name: str) -> None:
    """RFC 6749 (3.1): by redirect, or a page where it is the client or its address."""
    asked = [*App(smart.root).request(nonce="n", unheard_of="u").items()]
    twice = [*asked, (name, "other")]
    answer = smart.browser("doc").http.get("/oauth/authorize", params=twice)
    told = answered(answer)
    assert told["error"] == "invalid_request" and told["error_description"] == f"the parameter {name} is there twice"


@pytest.mark.parametrize("name", ["client_id", "redirect_uri"])
def test_an_address_or_app_that_is_there_twice_is_nowhere(smart: Smart, name: str) -> None:
    """A page that says so: it cannot be known which one is meant."""
    asked = App(smart.root).request()
    answer = smart.browser("doc").http.get("/oauth/authorize", params=[*asked.items(), (name, asked[name])])
    assert answer.status_code == 400 and "location" not in answer.headers
    assert f"the parameter {name} is there twice" in answer.text


STATES = ["a b", "a+b", "%2B", "ä€😀", "a&code=x&iss=y", "<script>", "=", "#x", "a\nb", '"', "x" * 4_000]


@pytest.mark.parametrize("state", STATES)
def test_the_state_comes_back_as_it_was_sent(smart: Smart, state: str) -> None:
    """[B2, K5] Character for character, with a code and with an error."""
    app = App(smart.root, state=state, scope="openid user/Patient.rs")
    answer = smart.consented(smart.authorize(app))
    told = dict(parse_qsl(urlsplit(answer.headers["location"]).query, strict_parsing=True))
    assert told["state"] == state and told["iss"] == smart.root and told["code"]
    assert answered(smart.authorize(app, aud="x"))["state"] == state


def test_refusing_tells_the_app(smart: Smart) -> None:
    """access_denied with state and issuer; the request is over then."""
    app, browser = App(smart.root, scope="openid user/Patient.rs"), smart.browser("doc")
    page = smart.authorize(app)
    told = answered(browser.decide(page, decision="deny"))
    assert (told["error"], told["state"], told["iss"]) == ("access_denied", app.state, smart.root)
    assert browser.decide(page).status_code == 400


def test_a_request_is_answered_once(smart: Smart) -> None:
    """The form sent twice gives one code."""
    browser = smart.browser("doc")
    page = smart.authorize(App(smart.root, scope="openid user/Patient.rs"))
    assert "code" in answered(browser.decide(page))
    assert browser.decide(page).status_code == 400


def test_what_waits_for_strangers_is_small_and_soon_gone(smart: Smart) -> None:
    """Before somebody signs in, at most 8 KB are kept for ten minutes; whoever signs in has half an hour."""
    app, browser = App(smart.root), Browser(smart.root)
    scope = " ".join(f"patient/Observation.rs?code={n:060}" for n in range(60))
    asked = app.request(state="x" * 2_000, scope=f"{scope} {' '.join(f'made-up-{n}' for n in range(100))}")
    id = dict(parse_qsl(urlsplit(browser.http.get("/oauth/authorize", params=asked).headers["location"]).query))["request"]

    async def kept(service: Service) -> tuple[int, int]:
        record = await service.store.record(PENDING, digest(id))
        assert record is not None
        return len(record.value), round((record.expires - service.clock()) / 60_000_000)

    size, minutes = smart.at_store(kept)
    assert size < 9_500 and minutes == 10
    smart.browser("doc").http.get("/oauth/consent", params={"request": id})
    assert smart.at_store(kept)[1] == 30


def test_nobody_is_asked_with_prompt_none(smart: Smart) -> None:
    """A code where the user has allowed as much before, else the error of OpenID Connect (3.1.2.6)."""
    app = App(smart.root, "confidential", scope="openid user/Practitioner.rs")
    stranger = httpx.get(f"{smart.root}/oauth/authorize", params=app.request(prompt="none"))
    assert answered(stranger)["error"] == "login_required"
    assert answered(smart.authorize(app, "chief", prompt="none"))["error"] == "consent_required"
    smart.tokens(app, "chief")
    again = answered(smart.authorize(app, "chief", prompt="none"))
    assert app.exchange(again["code"]).json()["scope"] == app.scope
    wider = App(smart.root, "confidential", scope="openid user/Practitioner.rs user/Patient.rs")
    assert answered(smart.authorize(wider, "chief", prompt="none"))["error"] == "consent_required"
    assert answered(smart.authorize(app, "chief", prompt="none", max_age="0"))["error"] == "login_required"


@pytest.mark.parametrize("more", [{"prompt": "login"}, {"max_age": "0"}, {"prompt": "select_account consent"}])
def test_a_user_signs_in_again_where_the_app_wants_it(smart: Smart, more: dict[str, str]) -> None:
    """prompt=login and max_age=0 lead to the sign-in page, although there is a session."""
    assert "password" in smart.authorize(App(smart.root, scope="openid user/Patient.rs"), **more).text
    assert "password" not in smart.authorize(App(smart.root, scope="openid user/Patient.rs"), max_age="10000").text


def test_a_form_must_be_one(smart: Smart) -> None:
    """POST with JSON is refused by a page."""
    answer = httpx.post(f"{smart.root}/oauth/authorize", json=App(smart.root).request())
    assert answer.status_code == 400 and "x-www-form-urlencoded" in answer.text


ANY = st.text(st.characters(codec="utf-8"), max_size=40)
NAMES = st.sampled_from(
    sorted((*App("").request(), "launch", "prompt", "max_age", "nonce", "login_hint", "response_mode", "request"))
)
VALUES = ANY | st.sampled_from(
    ["code", "walk-public", BACK, "openid", "patient/*.rs", "S256", challenge("x"), "none", "login consent", "0", "9" * 12, "query"]
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    changes=st.dictionaries(NAMES, VALUES, max_size=5),
    method=st.sampled_from(["GET", "POST"]),
    more=st.lists(st.tuples(ANY, ANY), max_size=2),
)
def test_nothing_that_is_sent_makes_it_stumble(
    smart: Smart, changes: dict[str, str], method: str, more: list[tuple[str, str]]
) -> None:
    """Whatever the parameters are: a page, or a redirect to the consent page or the app's own address; never a 500, never elsewhere."""
    pairs = [*(App(smart.root).request() | changes).items(), *more]
    http = smart.browser("doc").http
    if method == "GET":
        answer = http.get("/oauth/authorize", params=pairs)
    else:
        body = str(httpx.QueryParams(pairs))
        answer = http.post("/oauth/authorize", content=body, headers={"Content-Type": "application/x-www-form-urlencoded"})
    assert answer.status_code in (303, 400)
    if answer.status_code == 303:
        assert answer.headers["location"].startswith((BACK + "?", "/oauth/consent?request="))


def test_after_signing_in_again_the_app_gets_its_code(smart: Smart) -> None:
    """prompt=login ends with a code, and auth_time is that of the new sign-in."""
    browser, app = Browser(smart.root), App(smart.root, scope="openid user/Patient.rs")
    browser.sign_in(browser.http.get("/oauth/sign-in"), "doc")
    asked = browser.follow(browser.http.get("/oauth/authorize", params=app.request(prompt="login")))
    told = answered(browser.decide(browser.sign_in(asked, "doc")))
    assert app.exchange(told["code"]).status_code == 200
    browser.http.close()


def test_a_trusted_app_is_let_in_without_asking(smart: Smart) -> None:
    """An app that the operator answers for, started from the EHR with prompt=none: a code at once, for a patient whom the user may see."""
    app = App(smart.root, "confidential", client="walk-trusted", scope="launch openid patient/Patient.rs")
    launch = smart.launch(app, patient="anna")
    told = answered(smart.authorize(app, prompt="none", launch=launch))
    assert app.exchange(told["code"]).json()["patient"] == "anna"
    stand_alone = App(smart.root, "confidential", client="walk-trusted", scope="launch/patient openid patient/Patient.rs")
    assert answered(smart.authorize(stand_alone, "desk", prompt="none"))["error"] == "consent_required"


def test_the_name_that_the_app_believes_in_is_filled_in(smart: Smart) -> None:
    """login_hint, as a text and never as markup."""
    app = App(smart.root, scope="openid user/Patient.rs")
    page = smart.authorize(app, prompt="login", login_hint='"><b>anna')
    assert 'value="&#34;&gt;&lt;b&gt;anna"' in page.text


def test_scopes_that_fall_into_too_many_parts(smart: Smart) -> None:
    """Wildcards that an app is registered for only type by type are cut into types, up to a bound."""
    levels = [
        f"patient/*.{letters}"
        for letters in ("c", "cr", "cru", "crud", "cruds", "r", "ru", "rud", "ruds", "rs", "s", "us", "u", "d")
    ]
    app = App(smart.root, client="walk-types", scope=" ".join(levels))
    assert answered(smart.authorize(app))["error"] == "invalid_scope"
    assert "code" in answered(
        smart.consented(smart.authorize(App(smart.root, client="walk-types", scope="patient/*.rs launch/patient")))
    )
