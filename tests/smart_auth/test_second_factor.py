"""Second factors: one-time passwords, recovery codes, roles that need one."""

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pyotp
import pytest
from people import SIGN_IN, Browser, Found, People, people, said
from typer.testing import CliRunner

from fhir_server.cli.application import application
from smart_auth.settings import SignInSettings

PROVE = "/oauth/second-factor"
FIRST = "/oauth/second-factor/set-up"
ADD = "/account/second-factor"
WRONG = "This code is wrong, or it was used before."


def secret_of(page: httpx.Response) -> pyotp.TOTP:
    """What an authenticator app makes of the key on the page."""
    found = re.search(r"Key: <code>([A-Z2-7 ]+)</code>", page.text)
    assert found is not None
    return pyotp.TOTP(found.group(1).replace(" ", ""))


def with_app(crowd: People, name: str) -> tuple[Browser, pyotp.TOTP, list[str]]:
    """A browser in which the user has added an authenticator app, the app, and the recovery codes."""
    browser = crowd.browser().entered(name)
    page = browser.get(ADD)
    app = secret_of(page)
    answer = browser.send(page, ADD, otp=app.at(crowd.clock.seconds))
    assert answer.status_code == 200, said(answer)
    return browser, app, codes_of(answer)


def codes_of(page: httpx.Response) -> list[str]:
    return re.findall(r"<li><code>([a-z0-9-]+)</code></li>", page.text)


def proving(crowd: People, name: str, browser: Browser | None = None) -> tuple[Browser, httpx.Response]:
    """A browser that has given the password, and the page that asks for the second factor."""
    chosen = browser or crowd.browser()
    answer = chosen.sign_in(name)
    assert answer.headers["location"] == PROVE, (answer.status_code, said(answer))
    return chosen, chosen.get(PROVE)


def test_an_authenticator_app(crowd: People) -> None:
    """Once an app is added, the password alone opens nothing; with the app's code one is in."""
    name = crowd.user()
    _, app, codes = with_app(crowd, name)
    assert len(codes) == 10 and len(set(codes)) == 10
    browser, page = proving(crowd, name)
    assert not browser.signed_in and browser.http.get("/oauth/consent?request=x").status_code != 200
    crowd.clock.later(60)
    answer = browser.send(page, PROVE, otp=app.at(crowd.clock.seconds))
    assert answer.headers["location"] == "/account" and browser.signed_in


def test_the_picture_says_what_the_text_says(crowd: People) -> None:
    """The key is shown as a picture in the page itself: no other server learns it."""
    page = crowd.browser().entered(crowd.user()).get(ADD)
    assert [image[:19] for image in Found(page.text).images] == ["data:image/svg+xml;"]
    assert "img-src 'self' data:" in page.headers["content-security-policy"]


@pytest.mark.parametrize("slots, good", [(-3, False), (-1, True), (0, True), (1, True), (2, False)])
def test_clocks_may_differ_a_little(crowd: People, slots: int, good: bool) -> None:
    """A code counts half a minute before and after its time, not longer."""
    name = crowd.user()
    _, app, _ = with_app(crowd, name)
    crowd.clock.later(600 + 30 - crowd.clock.seconds % 30 + 5)
    browser, page = proving(crowd, name)
    answer = browser.send(page, PROVE, otp=app.at(crowd.clock.seconds + slots * 30))
    assert (answer.status_code == 303) is good
    assert good or (said(answer), browser.signed_in) == (WRONG, False)


def test_a_code_counts_once(crowd: People) -> None:
    """The code that signed one browser in signs no other one in, nor does an earlier one; the one that set the app up is used too."""
    name = crowd.user()
    _, app, _ = with_app(crowd, name)
    browser, page = proving(crowd, name)
    assert said(browser.send(page, PROVE, otp=app.at(crowd.clock.seconds))) == WRONG, "the code of the set-up"
    crowd.clock.later(90)
    code = app.at(crowd.clock.seconds)
    assert browser.send(page, PROVE, otp=code).status_code == 303
    for again in (code, app.at(crowd.clock.seconds - 30)):
        other, page = proving(crowd, name)
        assert said(other.send(page, PROVE, otp=again)) == WRONG and not other.signed_in


def test_a_code_counts_once_at_the_same_moment(crowd: People) -> None:
    """Of browsers that send the same code at once, one is signed in."""
    name = crowd.user()
    _, app, _ = with_app(crowd, name)
    crowd.clock.later(90)
    ready = [proving(crowd, name) for _ in range(3)]
    code = app.at(crowd.clock.seconds)
    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(lambda each: each[0].send(each[1], PROVE, otp=code), ready))
    assert [answer.status_code for answer in answers].count(303) == 1
    assert [browser.signed_in for browser, _ in ready].count(True) == 1


def test_a_recovery_code_counts_once(crowd: People) -> None:
    """A recovery code, however it is typed, signs in once; the page tells how many are left."""
    name = crowd.user()
    _, _, codes = with_app(crowd, name)
    browser, page = proving(crowd, name)
    assert browser.send(page, PROVE, otp=f" {codes[0].upper().replace('-', ' ')} ").status_code == 303
    assert "Recovery codes left: 9" in browser.get("/account").text
    other, page = proving(crowd, name)
    assert said(other.send(page, PROVE, otp=codes[0])) == WRONG and not other.signed_in
    assert other.send(page, PROVE, otp=codes[1]).status_code == 303


@pytest.mark.parametrize(
    "code", ["", "000000", "12345", "1234567", "\u0661\u0662\u0663\u0664\u0665\u0666", "x" * 5_000, "a-b-c", "null", "0" * 16]
)
def test_wrong_codes(crowd: People, code: str) -> None:
    """What is no code that counts is refused in one sentence, and the page asks again."""
    name = crowd.user()
    _, app, _ = with_app(crowd, name)
    crowd.clock.later(90)
    browser, page = proving(crowd, name)
    answer = browser.send(page, PROVE, otp=code)
    assert (answer.status_code, said(answer)) == (400, WRONG) and not browser.signed_in
    assert browser.send(answer, PROVE, otp=app.at(crowd.clock.seconds)).status_code == 303


def test_codes_cannot_be_guessed(crowd: People) -> None:
    """Wrong codes are counted for the user whatever browser sends them: after three the next has to wait."""
    name = crowd.user()
    _, app, _ = with_app(crowd, name)
    crowd.clock.later(90)
    for _ in range(3):
        browser, page = proving(crowd, name)
        assert browser.send(page, PROVE, otp="000000").status_code == 400
    browser, page = proving(crowd, name)
    answer = browser.send(page, PROVE, otp=app.at(crowd.clock.seconds))
    assert answer.status_code == 429 and int(answer.headers["retry-after"]) >= 1 and not browser.signed_in
    crowd.clock.later(1)
    assert browser.send(answer, PROVE, otp=app.at(crowd.clock.seconds)).status_code == 303


def test_the_second_page_needs_the_first(crowd: People) -> None:
    """Without the password there is nothing to prove: the page leads back, its form is refused."""
    browser = crowd.browser()
    assert browser.http.get(PROVE).headers["location"] == SIGN_IN
    assert browser.http.get(f"{PROVE}?request=abc").headers["location"] == f"{SIGN_IN}?request=abc"
    assert browser.post(PROVE, {"csrf": "x", "otp": "000000"}).status_code == 403


def test_the_second_page_does_not_wait_for_ever(crowd: People) -> None:
    """Ten minutes after the password it has to be given again."""
    name = crowd.user()
    _, app, _ = with_app(crowd, name)
    browser, page = proving(crowd, name)
    crowd.clock.later(601)
    assert browser.send(page, PROVE, otp=app.at(crowd.clock.seconds)).status_code == 403 and not browser.signed_in


def test_the_session_changes_with_the_second_factor(crowd: People) -> None:
    """The cookie of the half of sign-in that a password opens is not the one of the session."""
    name = crowd.user()
    _, app, _ = with_app(crowd, name)
    crowd.clock.later(90)
    browser, page = proving(crowd, name)
    half = browser.cookies()["fhir-session"]
    browser.send(page, PROVE, otp=app.at(crowd.clock.seconds))
    thief = crowd.browser()
    thief.http.cookies.set("fhir-session", half, domain="127.0.0.1")
    assert browser.signed_in and browser.cookies()["fhir-session"] != half and not thief.signed_in


def test_a_role_that_needs_one(crowd: People) -> None:
    """A user of such a role sets a factor up before anything else opens, and goes on to the app from there."""
    name, browser = crowd.needing(), crowd.browser()
    answer = browser.send(browser.get(SIGN_IN, request="abc"), SIGN_IN, username=name, password="a long pass phrase")
    assert answer.headers["location"] == f"{FIRST}?request=abc"
    page = browser.get(answer.headers["location"])
    assert not browser.signed_in and browser.http.get(ADD).status_code == 303
    assert browser.send(page, FIRST, otp="000000").status_code == 400
    page = browser.send(page, FIRST, otp=secret_of(page).at(crowd.clock.seconds))
    assert page.status_code == 200 and len(codes_of(page)) == 10 and "/oauth/consent?request=abc" in page.text
    assert browser.signed_in


def test_a_role_that_needs_one_keeps_it(crowd: People) -> None:
    """The last factor of such a user cannot be removed, nor set up again by somebody who has only the password."""
    name, browser = crowd.needing(), crowd.browser()
    browser.sign_in(name)
    page = browser.get(FIRST)
    browser.send(page, FIRST, otp=secret_of(page).at(crowd.clock.seconds))
    account = browser.get("/account")
    assert browser.send(account, "/account/second-factor/remove", factor="totp").status_code == 403
    other, _ = proving(crowd, name)
    assert other.http.get(FIRST).headers["location"] == PROVE
    assert other.post(FIRST, {"csrf": "x", "otp": "1"}).status_code == 403


def test_factors_are_removed_and_codes_renewed(crowd: People) -> None:
    """New recovery codes end the old ones; without a factor the password is enough again, and no recovery code is left."""
    name = crowd.user()
    browser, _, codes = with_app(crowd, name)
    new = codes_of(browser.send(browser.get("/account"), "/account/recovery-codes"))
    assert len(new) == 10 and not set(new) & set(codes)
    other, page = proving(crowd, name)
    assert said(other.send(page, PROVE, otp=codes[0])) == WRONG
    assert browser.send(browser.get("/account"), "/account/second-factor/remove", factor="totp").status_code == 303
    assert "Recovery codes left" not in browser.get("/account").text
    crowd.browser().entered(name)


def test_a_browser_left_open_changes_nothing(crowd: People) -> None:
    """A quarter of an hour after sign-in, factors are changed only after signing in again."""
    name = crowd.user()
    browser, _, _ = with_app(crowd, name)
    account = browser.get("/account")
    crowd.clock.later(16 * 60)
    again = f"{SIGN_IN}?notice=again"
    assert browser.http.get(ADD).headers["location"] == again
    assert browser.send(account, "/account/recovery-codes").headers["location"] == again
    assert browser.send(account, "/account/second-factor/remove", factor="totp").headers["location"] == again
    assert "Sign in again to change how you sign in." in browser.get("/account/second-factor").text
    assert "Authenticator app" in browser.get("/account").text


def test_the_key_is_not_stored_in_the_clear(crowd: People) -> None:
    """Whoever reads the database finds neither the key nor the recovery codes nor a session's cookie."""
    name = crowd.user()
    browser, app, codes = with_app(crowd, name)
    folder = crowd.running.app._settings.data_dir
    stored = b"".join(path.read_bytes() for path in folder.rglob("fhir.db*"))
    assert name.encode() in stored
    for secret in (app.secret, codes[0], codes[0].replace("-", ""), browser.cookies()["fhir-session"]):
        assert secret.encode() not in stored


def test_roles_are_spelt_right() -> None:
    """A role that there is not stops the start: a slip of the pen must not leave a role without its second factor."""
    with pytest.raises(ValueError, match="practicioner is no role; roles are patient, practitioner"):
        SignInSettings(mfa_roles="admin practicioner")


def test_after_a_change_of_the_servers_secret(tmp_path: Path) -> None:
    """What was sealed under another FHIR_SECRET is said to be out of use, pages go on working, and recovery codes still count."""
    folder = tmp_path / "changed"
    with people(folder, 1, needing=0, secret="a secret of sixteen characters") as made:
        browser, app, codes = with_app(made, "user0")
        browser.get(ADD)
        cookies = browser.cookies()
    environment = {"FHIR_DATA_DIR": str(folder), "FHIR_SECRET": "another secret of that length"}
    assert CliRunner().invoke(application, ["audit", "rotate-key"], env=environment).exit_code == 0
    with people(folder, 0, needing=0, secret="another secret of that length") as made:
        old = made.browser()
        for name, value in cookies.items():
            old.http.cookies.set(name, value, domain="127.0.0.1")
        assert old.get(ADD).status_code == 200
        browser, page = proving(made, "user0")
        answer = browser.send(page, PROVE, otp=app.at(made.clock.seconds))
        assert answer.status_code == 503 and "a secret of this server was changed" in answer.text
        assert browser.send(page, PROVE, otp=codes[0]).status_code == 303 and browser.signed_in
