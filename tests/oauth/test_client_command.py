"""`fhir-server client`: what operators do with clients, and that a running server heeds it at once."""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from oauth.world import SECRET, USERS, OAuth, key, public, refused
from typer.testing import CliRunner, Result

from fhir_server.cli.application import application
from fhir_server.config import SettingsError, load_settings
from smart_auth.tokens import KEPT

APP = (
    "--name",
    "Diary",
    "--type",
    "confidential",
    "--redirect-uri",
    "https://diary.example/back",
    "--scope",
    "openid patient/*.rs",
)


@pytest.fixture
def run(oauth: OAuth, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Runs a command on the store of the running server."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FHIR_DATA_DIR", str(oauth.settings.data_dir))
    monkeypatch.setenv("FHIR_PORT", str(oauth.settings.port))

    def command(*arguments: str) -> Result:
        return CliRunner().invoke(application, ["client", *arguments])

    return command


def added(run: Any, *options: str) -> Any:
    done = run("add", *options, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_an_app_with_a_secret(oauth: OAuth, run: Any) -> None:
    """[C2] Its id and secret are printed once, and are good in the running server."""
    made = added(run, *APP)
    assert made["type"] == "confidential" and made["token_endpoint_auth_method"] == "client_secret_basic"
    assert oauth.post("revoke", {"token": "x"}, auth=(made["client_id"], made["client_secret"])).status_code == 200
    shown = run("show", made["client_id"], "--json").stdout
    assert json.loads(shown)["name"] == "Diary"
    assert made["client_secret"] not in shown + run("list", "--json").stdout + run("show", made["client_id"]).stdout


def test_a_public_app(oauth: OAuth, run: Any) -> None:
    """[C1] It has no secret; several redirect URIs and a launch URI may be given."""
    options = (
        "--name",
        "Phone",
        "--type",
        "public",
        "--redirect-uri",
        "https://a.example/",
        "--redirect-uri",
        "org.example.a:/back",
    )
    made = added(run, *options, "--launch-uri", "https://a.example/launch", "--scope", "launch patient/*.read")
    assert "client_secret" not in made
    assert (
        made["redirect_uris"] == ["https://a.example/", "org.example.a:/back"] and made["launch_uri"] == "https://a.example/launch"
    )
    assert oauth.post("revoke", {"token": "x", "client_id": made["client_id"]}).status_code == 200


def test_an_older_app(run: Any) -> None:
    """How an app is told fhirContext is kept and shown; nothing else is taken."""
    made = added(run, *APP, "--fhir-context-as", "references")
    assert json.loads(run("show", made["client_id"], "--json").stdout)["fhir_context"] == "references"
    assert "fhir_context" not in added(run, *APP)
    assert run("add", *APP, "--fhir-context-as", "xml").exit_code == 2


def test_a_service(oauth: OAuth, run: Any, tmp_path: Path) -> None:
    """[H4, H14] Registered with a file of keys, or the URL of one."""
    file = tmp_path / "keys.json"
    file.write_text(json.dumps(public(key("by command"))))
    made = added(run, "--name", "Exporter", "--type", "backend", "--jwks", str(file), "--scope", "system/*.rs")
    assert "client_secret" not in made
    form = oauth.service_form(oauth.assertion(made["client_id"], key("by command")))
    assert oauth.post("token", form).status_code == 200
    by_url = added(run, "--name", "X", "--type", "backend", "--jwks-uri", "https://x.example/jwks", "--scope", "system/*.rs")
    assert by_url["jwks_uri"] == "https://x.example/jwks"


def test_a_service_for_analysts(oauth: OAuth, run: Any, tmp_path: Path) -> None:
    """A service that is registered for de-identified exports gets nothing else, and is shown as such."""
    file = tmp_path / "keys.json"
    file.write_text(json.dumps(public(key("analysts"))))
    options = ("--name", "Analysts", "--type", "backend", "--jwks", str(file), "--scope", "system/*.rs")
    made = added(run, *options, "--deidentified")
    assert json.loads(run("show", made["client_id"], "--json").stdout)["deidentified"] is True
    assert "deidentified" not in added(run, *options)
    token = oauth.post("token", oauth.service_form(oauth.assertion(made["client_id"], key("analysts")))).json()["access_token"]
    assert oauth.http.get("/fhir/Patient", headers=oauth.bearer(token)).status_code == 403
    assert oauth.http.get("/fhir/metadata", headers=oauth.bearer(token)).status_code == 200


def test_plain_output(run: Any) -> None:
    """Without --json: a line each for id and secret."""
    lines = run("add", *APP).stdout.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["client_id", "client_secret"]
    assert lines[0].partition(": ")[2] in run("list").stdout


BAD: dict[str, tuple[Sequence[str], str]] = {
    "no redirect URI": (("--name", "x", "--type", "public", "--scope", "patient/*.rs"), "--redirect-uri"),
    "a service without keys": (("--name", "x", "--type", "backend", "--scope", "system/*.rs"), "--jwks"),
    "a service with users": (
        ("--name", "x", "--type", "backend", "--jwks-uri", "https://x.example/", "--scope", "patient/*.rs"), "system/ scopes"
    ),
    "an app with system scopes": ((*APP, "--scope", "system/*.rs"), "system/ scopes"),
    "analysts who start apps": (
        (*("--name", "x", "--type", "backend", "--jwks-uri", "https://x.example/", "--deidentified"),
         *("--scope", "system/*.rs smart/orchestrate_launch")),
        "nothing but exports",
    ),
    "an app for analysts": ((*APP, "--deidentified"), "--deidentified is for services"),
    "an unknown type": ((*APP, "--scope", "patient/Teapot.rs"), "Teapot"),
    "no scope": ((*APP, "--scope", "nonsense"), "nonsense: no scope that is known here"),
    "an empty scope": ((*APP, "--scope", " "), "--scope"),
    "a redirect that runs": ((*APP, "--redirect-uri", "javascript:alert(1)"), "redirect_uri"),
    "keys at http": ((*APP, "--jwks-uri", "http://x.example/"), "--jwks-uri http://x.example/: jwks_uri must begin with https://"),
    "keys within the network": ((*APP, "--jwks-uri", "https://10.0.0.1/jwks"), "FHIR_JWKS_URI_ALLOW"),
    "a file that is not there": ((*APP, "--jwks", "nothing.json"), "nothing.json"),
    "an empty name": ((*APP, "--name", " "), "--name"),
    "keys for a public app": (
        ("--name", "x", "--type", "public", "--redirect-uri", "https://x/", "--jwks-uri", "https://x/", "--scope", "openid"),
        "public client"
    ),
    "two sets of keys": ((*APP, "--jwks", "a", "--jwks-uri", "https://x/"), "not both"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_is_refused(run: Any, name: str) -> None:
    """Exit code 2, and one line that says what to do."""
    options, text = BAD[name]
    done = run("add", *options)
    assert done.exit_code == 2
    assert text in done.stderr and done.stdout == ""


def test_a_private_key_is_not_taken(run: Any, tmp_path: Path) -> None:
    """[H14] A file with a private key is refused, and nothing of it is printed."""
    private = key("own").as_dict(private=True)
    (tmp_path / "keys.json").write_text(json.dumps({"keys": [private]}))
    done = run("add", *APP, "--jwks", "keys.json")
    assert done.exit_code == 2 and "secret" in done.stderr
    assert private["d"] not in done.output


def test_a_new_secret(oauth: OAuth, run: Any) -> None:
    """Both the new and the old secret are good for a while; with --keep-old 0, only the new one, and never a third."""
    made = added(run, *APP)
    id, first = made["client_id"], made["client_secret"]
    second = json.loads(run("rotate", id, "--json").stdout)["client_secret"]
    assert [_good(oauth, id, secret) for secret in (first, second)] == [True, True]
    third = json.loads(run("rotate", id, "--json").stdout)["client_secret"]
    assert [_good(oauth, id, secret) for secret in (first, second, third)] == [False, True, True]
    fourth = run("rotate", id, "--keep-old", "0").stdout.strip().removeprefix("client_secret: ")
    assert [_good(oauth, id, secret) for secret in (second, third, fourth)] == [False, False, True]


def _good(oauth: OAuth, id: str, secret: str) -> bool:
    return oauth.post("revoke", {"token": "x"}, auth=(id, secret)).status_code == 200


def test_new_keys(oauth: OAuth, run: Any) -> None:
    """[H14] A client with keys is given others, which count at once; the old ones no more."""
    for name in ("before", "after"):
        Path(f"{name}.json").write_text(json.dumps(public(key(name))))
    id = added(run, "--name", "X", "--type", "backend", "--jwks", "before.json", "--scope", "system/*.rs")["client_id"]
    assert run("rotate", id, "--jwks", "after.json").exit_code == 0
    refused(oauth.post("token", oauth.service_form(oauth.assertion(id, key("before")))), "invalid_client")
    assert oauth.post("token", oauth.service_form(oauth.assertion(id, key("after")))).status_code == 200
    moved = json.loads(run("rotate", id, "--jwks-uri", "https://x.example/jwks", "--json").stdout)
    assert moved["jwks_uri"] == "https://x.example/jwks" and "jwks" not in moved
    assert run("rotate", id, "--jwks", "after.json", "--jwks-uri", "https://x.example/jwks").exit_code == 2
    assert "has no keys" in run("rotate", "server", "--jwks", "after.json").stderr


def test_help(run: Any) -> None:
    """Every command explains itself."""
    told = run("--help").stdout
    for command in ("add", "list", "show", "rotate", "disable", "enable", "remove"):
        assert command in told
        assert run(command, "--help").exit_code == 0


def test_no_secret_to_rotate(run: Any) -> None:
    """A client without one is told so."""
    done = run("rotate", "backend")
    assert done.exit_code == 2 and "has no secret" in done.stderr


@pytest.mark.parametrize("command", ["show", "rotate", "disable", "enable", "remove"])
def test_a_client_that_is_not_there(run: Any, command: str) -> None:
    """Exit code 2."""
    done = run(command, "nobody")
    assert done.exit_code == 2 and "there is no client nobody" in done.stderr


def test_disabled_enabled_removed(oauth: OAuth, run: Any) -> None:
    """[E7, E8] Whoever is disabled or removed has no more tokens within a second; whoever is enabled again may ask for new ones."""
    access, refresh = oauth.granted(USERS[0], "switched")
    assert _reads(oauth, access) == 200
    assert run("disable", "switched").exit_code == 0
    try:
        _is_401_after_a_second(oauth, access)
        refused(_refreshed(oauth, refresh), "invalid_client", 401)
    finally:
        assert run("enable", "switched").exit_code == 0
    refused(_refreshed(oauth, refresh), "invalid_grant", 400)
    assert _good(oauth, "switched", SECRET)
    made = added(run, *APP)
    assert run("remove", made["client_id"]).exit_code == 0
    assert not _good(oauth, made["client_id"], made["client_secret"])
    assert made["client_id"] not in run("list").stdout


def test_a_service_that_is_removed(oauth: OAuth, run: Any) -> None:
    """[E7] Its own tokens end too."""
    file = Path("keys.json")
    file.write_text(json.dumps(public(key("removed"))))
    id = added(run, "--name", "X", "--type", "backend", "--jwks", "keys.json", "--scope", "system/*.rs")["client_id"]
    token = oauth.post("token", oauth.service_form(oauth.assertion(id, key("removed")))).json()["access_token"]
    assert _reads(oauth, token) == 200
    assert run("remove", id).exit_code == 0
    _is_401_after_a_second(oauth, token)


def _reads(oauth: OAuth, token: str) -> int:
    return oauth.http.get("/fhir/Patient/anna", headers=oauth.bearer(token)).status_code


def _refreshed(oauth: OAuth, token: str) -> Any:
    form = {"grant_type": "refresh_token", "refresh_token": token}
    return oauth.post("token", form, auth=("switched", SECRET))


def _is_401_after_a_second(oauth: OAuth, token: str) -> None:
    """A revocation by another process counts within a second (`smart_auth.tokens.KEPT`)."""
    time.sleep(KEPT / 1_000_000 + 0.05)
    assert _reads(oauth, token) == 401


def test_the_event(oauth: OAuth, run: Any) -> None:
    """What operators do with clients is recorded."""
    id = added(run, *APP)["client_id"]
    run("remove", id)
    found = oauth.http.get("/fhir/AuditEvent?_sort=-_lastUpdated&_count=50", headers=oauth.bearer("chief")).text
    assert "the client Diary was added (confidential)" in found and "the client Diary was removed" in found


WRONG = {
    "FHIR_JWKS_URI_ALLOW": "10.0.0.0/99",
    "FHIR_BRAND_FILE": "nothing.json",
    "FHIR_BRAND_URL": "javascript:alert(1)",
    "FHIR_BACKEND_TOKEN_TTL": "3600",
    "FHIR_REGISTRATION": "everybody",
}


@pytest.mark.parametrize("name", WRONG)
def test_a_setting_that_cannot_be(run: Any, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A wrong value stops every command with a line that names the variable."""
    monkeypatch.setenv(name, WRONG[name])
    with pytest.raises(SettingsError, match=name):
        load_settings()
