"""Sign-in at an outside OpenID provider: a server of our own as the provider, and one that is hostile."""

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest
from api.conftest import Running
from granting import Browser, Form, granting, scopes
from issuing import CLIENT, EC384, OTHER, SECRET, Issuer

from fhir_server.app import open_service
from fhir_server.config import SettingsError, load_settings
from resources.store import StoreUnavailable
from smart_auth.clients import Client, kept
from smart_auth.outside import sign_in as outside_sign_in
from smart_auth.outside.sign_in import user_name
from smart_auth.users import User, find_user
from smart_auth.users import kept as kept_user

ROLES = "bosses=admin clinicians=practitioner patients=patient"


def at_store(running: Running, work: Any) -> Any:
    """What `work`, given a Service on the same store, comes to."""

    async def run() -> Any:
        async with open_service(running.app._settings) as service:
            return await work(service)

    return asyncio.run(run())


class Outside:
    """A server where people sign in at an issuer, and browsers that go there and back."""

    def __init__(self, running: Running, issuer: Issuer) -> None:
        self.running, self.issuer, self.root = running, issuer, running.root

    def begun(self, asked: str = "") -> tuple[Browser, str]:
        """A browser that has been sent to the provider, and the URL."""
        browser = Browser(self.root)
        page = browser.authorize(asked) if asked else browser.http.get("/oauth/sign-in")
        link = page.text.partition('href="/oauth/outside/sign-in')[2].partition('"')[0]
        there = browser.http.get(f"/oauth/outside/sign-in{link}")
        assert there.status_code == 303 and there.headers["location"].startswith(self.issuer.url), there.text
        return browser, there.headers["location"]

    def entered(self, asked: str = "", **claims: Any) -> tuple[Browser, httpx.Response]:
        """The browser after signing in there, and where it is then."""
        browser, url = self.begun(asked)
        self.issuer.claims = {"sub": "u1", "groups": ["clinicians"], "fhirUser": "Practitioner/doc", "name": "Dr. Who"} | claims
        return browser, browser.follow(browser.http.get(self.issuer.authorized(url)))


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outside]:
    with Issuer() as issuer:
        settings = {
            "sign_in": "both", "oidc_issuer": issuer.url, "oidc_client_id": CLIENT, "oidc_client_secret": SECRET,
            "oidc_name": "The <Clinic>",
            "oidc_role_claim": "groups", "oidc_roles": ROLES, "oidc_parameters": "domain_hint=clinic.example", "mfa_roles": "admin",
        }  # fmt: skip
        with granting(tmp_path_factory.mktemp("outside"), **settings) as running:
            yield Outside(running, issuer)


@pytest.fixture(autouse=True)
def honest(outside: Outside) -> None:
    """Every test begins with an issuer that does what it should."""
    issuer = outside.issuer
    issuer.claims, issuer.said, issuer.header, issuer.answer = {}, {}, {}, {}
    issuer.signed_by, issuer.userinfo, issuer.down = None, None, False


def test_an_app_is_allowed_by_somebody_from_outside(outside: Outside) -> None:
    """From the app to the provider, back to the choice of a patient, to consent, to a token with the mapped role and reference."""
    browser, page = outside.entered("launch/patient openid fhirUser patient/Patient.rs user/Patient.rs")
    consent = browser.choose(page, patient="anna")
    assert "Dr. Who" in consent.text
    tokens = browser.redeem(browser.decide(consent))
    assert tokens["patient"] == "anna"
    assert browser.read("Patient/bert", tokens["access_token"]).status_code == 200
    user = at_store(outside.running, lambda service: find_user(service.store, "outside:u1"))
    assert (user.role, user.fhir_user, user.display, user.password) == ("practitioner", "Practitioner/doc", "Dr. Who", "")


def test_what_is_sent_to_the_provider(outside: Outside) -> None:
    """A code with PKCE (S256), a state and a nonce that nobody guesses, the registered address, and what the settings add."""
    asked = [dict(parse_qsl(urlsplit(outside.begun()[1]).query)) for _ in range(2)]
    assert asked[0]["response_type"] == "code" and asked[0]["code_challenge_method"] == "S256" and asked[0]["client_id"] == CLIENT
    assert asked[0]["redirect_uri"] == f"{outside.root}/oauth/outside/callback" and asked[0]["domain_hint"] == "clinic.example"
    assert all(asked[0][name] != asked[1][name] and len(asked[0][name]) >= 43 for name in ("state", "nonce", "code_challenge"))


def test_signing_in_again_brings_the_user_up_to_date(outside: Outside) -> None:
    """Role, name and reference follow the provider at each sign-in; without an app the account page comes next."""
    outside.entered(sub="moves", groups=["clinicians"])
    _, page = outside.entered(sub="moves", groups=["x", "patients"], fhirUser="Patient/anna", name="Anna")
    assert page.url.path == "/account" and "Anna Smith" in page.text and "patient" in page.text


@pytest.mark.parametrize(
    "claims", [{"groups": ["patients"], "fhirUser": "Patient/anna"}, {"fhirUser": "Practitioner/other"}, {"groups": ["strangers"]}]
)
def test_what_apps_may_do_ends_with_the_role(outside: Outside, claims: dict[str, Any]) -> None:
    """Where the provider changes role or person, or takes the role away, sessions and tokens of before are over; else they are not."""
    subject = f"changes-{len(claims)}-{'fhirUser' in claims}"
    browser, page = outside.entered("user/Patient.rs openid", sub=subject)
    token = browser.redeem(browser.decide(page))["access_token"]
    outside.entered(sub=subject)
    assert browser.read("Patient/bert", token).status_code == 200 and browser.http.get("/account").status_code == 200
    outside.entered(sub=subject, **claims)
    assert browser.http.get("/account").status_code == 303
    deadline = time.monotonic() + 60
    while browser.read("Patient/bert", token).status_code != 401:
        assert time.monotonic() < deadline, "the token still counts"
        time.sleep(0.05)


def test_a_change_that_is_interrupted_is_seen_again(outside: Outside, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the server ends while it takes in another role, the next sign-in ends the access of before all the same."""
    browser, page = outside.entered("user/Patient.rs openid", sub="interrupted")
    token = browser.redeem(browser.decide(page))["access_token"]
    assert browser.read("Patient/bert", token).status_code == 200
    changed = {"sub": "interrupted", "groups": ["patients"], "fhirUser": "Patient/anna"}
    with monkeypatch.context() as patch:
        patch.setattr(outside_sign_in, "revoke_all", _ends)
        assert outside.entered(**changed)[1].status_code == 503
    outside.entered(**changed)
    deadline = time.monotonic() + 60
    while browser.read("Patient/bert", token).status_code != 401:
        assert time.monotonic() < deadline, "the token still counts"
        time.sleep(0.05)


async def _ends(*given: Any, **more: Any) -> None:
    raise StoreUnavailable("the server ends here")


@pytest.mark.parametrize(
    ("groups", "role"),
    [
        (["clinicians", "bosses"], "admin"),
        ("patients other", "patient"),
        (["Clinicians"], ""),
        ([], ""),
        (None, ""),
        ({}, ""),
    ],
)
def test_roles_follow_the_table(outside: Outside, groups: Any, role: str) -> None:
    """The first value of the table that somebody has counts; who has none is told so and signed in nowhere."""
    browser, page = outside.entered(sub="roles", groups=groups, amr=["pwd", "otp"])
    if role:
        user = at_store(outside.running, lambda service: find_user(service.store, "outside:roles"))
        assert page.status_code == 200 and user.role == role
    else:
        assert page.status_code == 403 and "no role here" in page.text and "The &lt;Clinic&gt;" in page.text
        assert browser.http.get("/account").status_code == 303


def test_userinfo_adds_what_the_id_token_leaves_out(outside: Outside) -> None:
    """Role and reference may come from userinfo, of the same subject only, and never over what the id_token says."""
    bare = {"groups": None, "fhirUser": None}
    outside.issuer.userinfo = {"sub": "thin", "groups": ["clinicians"], "fhirUser": "Practitioner/doc"}
    assert outside.entered(sub="thin", **bare)[1].status_code == 200
    outside.issuer.userinfo = {"sub": "somebody-else", "groups": ["bosses"]}
    assert outside.entered(sub="thin", **bare)[1].status_code == 403


def test_a_second_factor_is_asked_for_where_the_provider_asked_for_none(outside: Outside) -> None:
    """A role that needs one sets it up here, unless the provider says that it has checked one."""
    assert outside.entered(sub="chief", groups=["bosses"])[1].url.path == "/oauth/second-factor/set-up"
    assert outside.entered(sub="chief", groups=["bosses"], amr=["pwd"])[1].url.path == "/oauth/second-factor/set-up"
    assert outside.entered(sub="chief", groups=["bosses"], amr=["mfa"])[1].url.path == "/account"


@pytest.mark.parametrize(
    ("name", "claims", "header"),
    [
        ("another issuer", {"iss": "https://evil.example"}, {}),
        ("another client", {"aud": "another"}, {}),
        ("no client", {"aud": None}, {}),
        ("another party", {"azp": "another"}, {}),
        ("several clients, no party", {"aud": [CLIENT, "another"]}, {}),
        ("another nonce", {"nonce": "x" * 43}, {}),
        ("no nonce", {"nonce": None}, {}),
        ("a nonce that is no text", {"nonce": ["x"]}, {}),
        ("expired", {"exp": 1_700_000_000}, {}),
        ("from tomorrow", {"iat": 4_102_444_800}, {}),
        ("nobody", {"sub": ""}, {}),
        ("no subject", {"sub": None}, {}),
        ("an access token", {}, {"typ": "at+jwt"}),
        ("an unknown key", {}, {"kid": "unknown"}),
        ("another key's name", {}, {"kid": "ec384"}),
    ],
)
def test_id_tokens_that_do_not_count(outside: Outside, name: str, claims: dict[str, Any], header: dict[str, Any]) -> None:
    """A hostile or broken provider signs nobody in: 403, no session, and a plain page."""
    outside.issuer.header = header
    browser, page = outside.entered(**claims)
    assert page.status_code == 403 and "did not work" in page.text
    assert browser.http.get("/account").status_code == 303


@pytest.mark.parametrize("key", [OTHER, EC384])
def test_signatures_that_do_not_count(outside: Outside, key: Any) -> None:
    """A token signed by another key under a known name, or said to be by another algorithm, signs nobody in."""
    outside.issuer.signed_by = key
    if key is EC384:
        outside.issuer.signed_by, outside.issuer.header = OTHER, {"kid": "rsa", "jwk": OTHER.as_dict(private=False)}
    assert outside.entered()[1].status_code == 403


@pytest.mark.parametrize(
    "answer", [{"iss": "https://evil.example"}, {"iss": ""}, {"code": ""}, {"code": "made-up"}, {"error": "access_denied"}]
)
def test_answers_that_do_not_count(outside: Outside, answer: dict[str, str]) -> None:
    """Mix-up (another issuer's answer, or none named where it was promised), no code, another code, or a refusal: nobody is signed in."""
    outside.issuer.answer = answer
    browser, page = outside.entered()
    assert page.status_code == 403 and browser.http.get("/account").status_code == 303


def test_an_answer_counts_once_and_in_its_browser(outside: Outside) -> None:
    """Login CSRF and replay: an answer in another browser, again, or with another state signs nobody in."""
    browser, url = outside.begun()
    outside.issuer.claims = {"sub": "u1", "groups": ["clinicians"]}
    back = outside.issuer.authorized(url)
    victim, other = Browser(outside.root), Browser(outside.root)
    other.http.get("/oauth/sign-in")  # has a cookie of its own
    for stranger in (victim, other):
        refused = stranger.http.get(back)
        assert refused.status_code == 400 and "another browser" in refused.text
        assert "session" not in str(refused.headers.get_list("set-cookie"))
    state = dict(parse_qsl(urlsplit(back).query))["state"]
    for changed in (back.replace(state, "x" * 43), back.replace(state, ""), back + f"&state={state}"):
        assert browser.http.get(changed).status_code == 400
    assert browser.http.get(back).headers["location"] == "/account"
    assert browser.http.get(back).status_code == 400


def test_an_answer_used_many_times_at_once_counts_once(outside: Outside) -> None:
    """Of eight requests with the same answer at the same moment one is signed in."""
    browser, url = outside.begun()
    outside.issuer.claims = {"sub": "u1", "groups": ["clinicians"]}
    back, cookies = outside.issuer.authorized(url), dict(browser.http.cookies)
    with ThreadPoolExecutor(8) as windows:
        found = list(windows.map(lambda _: httpx.get(back, cookies=cookies).status_code, range(8)))
    assert sorted(found) == [303, *[400] * 7]


def test_signing_in_again_is_proved(outside: Outside) -> None:
    """An app that wants the user to sign in anew: the provider is asked to, and has to say that it did."""
    browser, url = outside.begun()
    assert "prompt" not in url
    for age, status in ((None, 403), (3_600, 403), (0, 200)):
        browser = Browser(outside.root)
        page = browser.authorize("openid", prompt="login")
        asked = page.text.partition('href="/oauth/outside/sign-in')[2].partition('"')[0]
        url = browser.http.get(f"/oauth/outside/sign-in{asked}").headers["location"]
        assert "prompt=login" in url and "max_age=0" in url
        outside.issuer.claims = {
            "sub": "u1",
            "groups": ["clinicians"],
            "auth_time": None if age is None else int(time.time()) - age,
        }
        assert browser.follow(browser.http.get(outside.issuer.authorized(url))).status_code == status


def test_nobody_becomes_a_local_user(outside: Outside) -> None:
    """Subjects never lead to users of this server, nor to each other's: capitals count, as they do at the provider."""
    assert outside.entered(sub="chief", amr=["mfa"])[1].status_code == 200
    chief = at_store(outside.running, lambda service: find_user(service.store, "chief"))
    assert chief.password and not chief.outside
    assert len({user_name(each) for each in ("anna", "Anna", "ANNA", "a nna", "anna ", "x" * 61, "\u00e9", "e\u0301")}) == 8
    taken = User("outside:taken", "admin", password="hash")
    at_store(outside.running, lambda service: service.commit(kept_user(taken)))
    assert outside.entered(sub="taken")[1].status_code == 403
    outside.entered(sub="leaves")
    gone = at_store(outside.running, lambda service: find_user(service.store, "outside:leaves"))
    at_store(outside.running, lambda service: service.commit(kept_user(gone.having(disabled=True))))
    assert outside.entered(sub="leaves")[1].status_code == 403


def test_a_provider_that_is_down(outside: Outside) -> None:
    """People are told that it cannot be reached, and those with a password sign in all the same."""
    browser, url = outside.begun()
    back = outside.issuer.authorized(url)
    outside.issuer.down = True
    assert browser.http.get(back).status_code == 503
    assert browser.sign_in(browser.http.get("/oauth/sign-in"), "doc").url.path == "/account"


def test_the_sign_in_page_offers_both(outside: Outside) -> None:
    """The button names the provider, as text, and keeps the app's request."""
    page = Browser(outside.root).authorize("openid")
    assert "Sign in with The &lt;Clinic&gt;" in page.text and "<Clinic>" not in page.text and 'name="password"' in page.text
    assert f"/oauth/outside/sign-in?request={Form(page).hidden['request']}" in page.text
    for asked in ("https://evil.example", "//evil", "a b", "x" * 200):
        assert Browser(outside.root).http.get("/oauth/outside/sign-in", params={"request": asked}).status_code == 400


def test_only_from_outside(tmp_path: Path) -> None:
    """FHIR_SIGN_IN=oidc with a second server of ours as the provider: nobody signs in with a password, the provider's users do."""
    with granting(tmp_path / "provider") as provider:
        base = f"{provider.root}/fhir"
        settings = {
            "sign_in": "oidc", "oidc_issuer": provider.root, "oidc_client_id": "house", "oidc_scopes": "openid fhirUser profile",
            "oidc_fhir_base": base, "oidc_parameters": f"aud={base}",
        }  # fmt: skip
        with granting(tmp_path / "server", **settings) as running:
            callback = f"{running.root}/oauth/outside/callback"
            house = Client("house", "The other server", "public", "openid fhirUser profile", "none", (callback,))
            at_store(provider, lambda service: service.commit(kept(house)))
            browser, there = Browser(running.root), Browser(provider.root)
            page = browser.authorize("openid launch/patient patient/Patient.rs")
            assert 'name="password"' not in page.text
            for path in ("/oauth/sign-in", "/oauth/reset", "/oauth/reset/password", "/account/password"):
                refused = browser.post(path, {"username": "anna", "password": "x"})
                assert refused.status_code == 403 and "not with a password" in refused.text
            asked = page.text.partition('href="/oauth/outside/sign-in')[2].partition('"')[0]
            url = browser.http.get(f"/oauth/outside/sign-in{asked}").headers["location"]
            consent = there.sign_in(there.follow(there.http.get(url)), "anna")
            back = there.http.post(
                "/oauth/consent", content=ticked(consent), headers={"Content-Type": "application/x-www-form-urlencoded"}
            )
            mine = browser.follow(browser.http.get(back.headers["location"]))
            assert "(you)" in mine.text
            tokens = browser.redeem(browser.decide(mine))
            assert tokens["patient"] == "anna" and scopes(tokens) == {"openid", "launch/patient", "patient/Patient.rs"}


def ticked(page: httpx.Response) -> str:
    """A consent form, with all that is ticked, as it is sent."""
    form = Form(page)
    pairs = [*form.fields, *(("scope", value) for value, checked in form.boxes.items() if checked), ("decision", "allow")]
    return str(httpx.QueryParams(pairs))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"sign_in": "oidc"}, "FHIR_OIDC_ISSUER"),
        ({"sign_in": "both", "oidc_issuer": "https://a.example"}, "FHIR_OIDC_CLIENT_ID"),
        ({"oidc_issuer": "http://a.example"}, "https://"),
        ({"oidc_issuer": "https://user:pw@a.example"}, "https://"),
        ({"oidc_role_claim": "groups"}, "FHIR_OIDC_ROLES"),
        ({"oidc_roles": "a=boss"}, "known are"),
        ({"oidc_roles": "a"}, "a=b"),
        ({"oidc_scopes": "profile"}, "openid"),
        ({"oidc_parameters": "redirect_uri=https://evil.example"}, "redirect_uri"),
        ({"auth_introspection": "https://a.example"}, "FHIR_AUTH_ISSUER"),
        ({"auth_claims": "role=x"}, "known are"),
        (
            {"auth_issuer": "https://a.example", "sign_in": "both", "oidc_issuer": "https://a.example", "oidc_client_id": "x"},
            "FHIR_SIGN_IN",
        ),
    ],
)
def test_settings_that_make_no_sense(settings: dict[str, str], said: str) -> None:
    """The start stops with a line that says which setting is wrong; secrets are in none of them."""
    with pytest.raises(SettingsError, match=said) as problem:
        load_settings(settings | {"oidc_client_secret": "a secret", "auth_client_secret": "a secret"})
    assert "a secret" not in str(problem.value)
