"""`fhir-server user`: what it does, says and refuses."""

import json
from pathlib import Path

import httpx
import pytest
from click.testing import Result
from people import PASSWORD, People
from typer.testing import CliRunner

from fhir_server.cli.application import application
from resources import instants


def run(folder: Path, *words: str, given: str = "", command: str = "user") -> Result:
    """The command with these words, on this data folder."""
    environment = {"FHIR_DATA_DIR": str(folder), "FHIR_PASSWORD_MEMORY": "19"}
    return CliRunner().invoke(application, [command, *words], input=given, env=environment)


def folder_of(crowd: People) -> Path:
    return crowd.running.app._settings.data_dir


@pytest.fixture(autouse=True)
def same_time(crowd: People, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands have the server's clock."""
    monkeypatch.setattr(instants, "now", crowd.clock)


def test_a_users_life(crowd: People) -> None:
    """Added, signed in, disabled, enabled, given a link and a password, made to use a second factor, removed: each counts at once."""
    folder = folder_of(crowd)
    done = run(folder, "add", "Grace Hopper", "--role", "admin", "--password-stdin", "--json", given=f"{PASSWORD}\n")
    assert json.loads(done.stdout)["name"] == "grace hopper", done.stderr
    browser = crowd.browser().entered("GRACE Hopper")
    assert run(folder, "disable", "grace hopper").exit_code == 0
    assert not browser.signed_in and crowd.browser().sign_in("grace hopper").status_code == 400
    assert run(folder, "enable", "grace hopper").exit_code == 0
    crowd.browser().entered("grace hopper")
    link = json.loads(run(folder, "reset", "grace hopper", "--json").stdout)["link"]
    path = link.removeprefix("http://127.0.0.1:8000")
    assert crowd.browser().send(crowd.browser().get(path), "/oauth/reset/password", password="x").status_code == 403
    chooser = crowd.browser()
    assert chooser.send(chooser.get(path), "/oauth/reset/password", password="chosen by the link").status_code == 303
    browser = crowd.browser().entered("grace hopper", "chosen by the link")
    assert run(folder, "reset", "grace hopper", "--password-stdin", given="set by hand, by somebody\n").exit_code == 0
    assert not browser.signed_in
    assert run(folder, "mfa", "grace hopper", "--require").exit_code == 0
    assert crowd.browser().sign_in("grace hopper", "set by hand, by somebody").headers["location"] == "/oauth/second-factor/set-up"
    listed = {each["name"]: each for each in json.loads(run(folder, "list", "--json").stdout)}
    assert listed["grace hopper"]["secondFactorRequired"] and "$argon2" not in json.dumps(listed)
    assert run(folder, "remove", "grace hopper").exit_code == 0
    assert crowd.browser().sign_in("grace hopper", "set by hand, by somebody").status_code == 400


def test_changing_a_user(crowd: People) -> None:
    """Another role or address counts at once, and sessions end; what is not named stays."""
    folder, name = folder_of(crowd), crowd.user()
    browser = crowd.browser().entered(name)
    done = run(folder, "change", name, "--role", "analyst", "--display", "Ann <Alyst>", "--json")
    assert done.exit_code == 0, done.stderr
    shown = json.loads(done.stdout)
    assert (shown["role"], shown["display"], shown["email"]) == ("analyst", "Ann <Alyst>", f"{name}@example.org")
    assert not browser.signed_in and "Ann &lt;Alyst&gt;" in browser.entered(name).get("/account").text
    assert run(folder, "change", name, "--email", "").exit_code == 0
    assert run(folder, "change", name, "--email", f"{name}@example.org").exit_code == 0


def test_a_reset_lets_a_user_in_who_was_kept_out(crowd: People) -> None:
    """Whoever guessed at the name meanwhile, the new password counts at once, in every browser."""
    folder, name = folder_of(crowd), crowd.user()
    for _ in range(6):
        crowd.browser().sign_in(name, "a guess at the password")
    assert crowd.browser().sign_in(name).status_code == 429
    assert run(folder, "reset", name, "--password-stdin", given="a password set by hand\n").exit_code == 0
    assert crowd.browser().entered(name, "a password set by hand").signed_in


def test_whoever_needs_a_second_factor_is_told_why(crowd: People) -> None:
    """The page to set it up says whether the role or an administrator wants it."""
    folder, name, page = folder_of(crowd), crowd.user(), "/oauth/second-factor/set-up"
    assert run(folder, "mfa", name, "--require").exit_code == 0
    crowd.clock.later(600)  # the command goes by the clock of the machine
    browser = crowd.browser()
    assert browser.sign_in(name).headers["location"] == page
    assert "An administrator has decided that your account needs a second factor. From now on" in browser.get(page).text
    other = crowd.browser()
    other.sign_in(crowd.needing())
    assert "Your role needs a second factor. From now on" in other.get(page).text


@pytest.mark.parametrize(
    "words, given, sentence",
    [
        (("add", "a", "--role", "king", "--password-stdin"), PASSWORD, "king is no role; roles are patient, practitioner"),
        (("add", "a", "--role", "admin", "--password-stdin"), "short", "shorter than 12 characters"),
        (("add", "a", "--role", "admin", "--password-stdin"), "", "no password came on standard input"),
        (("add", "administrators", "--role", "admin", "--password-stdin"), "Administrators", "the user name"),
        (("add", "", "--role", "admin"), "", "1 to 100 visible characters"),
        (("add", "x" * 101, "--role", "admin"), "", "1 to 100 visible characters"),
        (("add", "a\x1bb", "--role", "admin"), "", "1 to 100 visible characters"),
        (("add", "a", "--role", "patient"), "", "--fhir-user Patient/ID"),
        (("add", "a", "--role", "patient", "--fhir-user", "Patient/none"), "", "there is no Patient/none on this server"),
        (("add", "a", "--role", "admin", "--fhir-user", "Device/1"), "", "such as Patient/1"),
        (("add", "a", "--role", "admin", "--email", "a@b\nc"), "", "does not look like one"),
        (("add", "USER1", "--role", "admin"), "", "there is a user user1 already"),
        (("add", "a", "--role", "admin", "--email", "User1@example.org"), "", "another user has this e-mail address"),
        (("change", "user1"), "", "--role, --fhir-user, --email or --display"),
        (("change", "user1", "--role", "king"), "", "king is no role"),
        (("change", "user1", "--email", "user2@example.org"), "", "another user has this e-mail address"),
        (("change", "user1", "--role", "patient"), "", "--fhir-user Patient/ID"),
        (("change", "nobody", "--role", "admin"), "", "there is no user nobody"),
        (("reset", "nobody"), "", "there is no user nobody"),
        (("mfa", "user1"), "", "--remove, --require, or both"),
        (("remove", "nobody"), "", "there is no user nobody"),
    ],
)
def test_what_it_refuses(crowd: People, words: tuple[str, ...], given: str, sentence: str) -> None:
    """Each refusal is one line that says why and what to do; nothing is changed, and no password is repeated."""
    done = run(folder_of(crowd), *words, given=given)
    said = " ".join(done.stderr.split())
    assert done.exit_code == 2 and sentence in said and not done.stdout, done
    assert "Traceback" not in said and PASSWORD not in said


def test_it_is_recorded(crowd: People) -> None:
    """What the command does is in the audit, with the user it was done to and never a password."""
    folder = folder_of(crowd)
    run(folder, "add", "recorded", "--role", "admin", "--password-stdin", given=f"{PASSWORD}\n")
    token = run(folder, "--scope", "system/AuditEvent.rs", "--ttl", "99999999", command="token").stdout.strip()
    url = f"{crowd.running.root}/fhir/AuditEvent?_count=1000&_sort=-date"
    text = httpx.get(url, headers={"Authorization": f"Bearer {token}"}, timeout=30).text
    assert "user/recorded" in text and "user added with the role admin" in text and PASSWORD not in text
