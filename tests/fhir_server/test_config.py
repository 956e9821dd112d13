"""Settings: every one is checked before anything starts, and what is wrong is said in one line that names it."""

from pathlib import Path
from typing import Any

import pytest

from fhir_server.config import Settings, SettingsError, load_settings, variable, without_password
from smart_auth.client_keys.jwks_uri import loopback


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No settings but those that a test gives."""
    import os

    for name in os.environ:
        if name.startswith("FHIR_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("given", "own", "other"),
    [
        ({}, "http://localhost:8000/fhir https://127.0.0.1:8000/fhir http://[::1]:8000/fhir", "http://localhost:8001/fhir"),
        (
            {"host": "ehr", "port": 80},
            "http://ehr:80/fhir http://localhost:80/fhir http://localhost/fhir",
            "http://localhost:8000/fhir",
        ),
        ({"base_url": "https://ehr.org/r4/", "auth": "off"}, "https://ehr.org/r4 http://ehr.org/r4", "http://127.0.0.1:8000/fhir"),
    ],
)
def test_what_means_this_server(given: dict[str, Any], own: str, other: str) -> None:
    """Its base URL over http and https, and the names of this machine where no base URL is set."""
    bases = Settings(**given).bases
    assert set(own.split()) <= set(bases) and other not in bases


def test_the_defaults_listen_on_loopback_and_ask_for_sign_in() -> None:
    """Nothing given: a server that nobody else can reach, and that asks who somebody is."""
    settings = load_settings()
    assert (settings.host, settings.port, settings.auth, settings.workers) == ("127.0.0.1", 8000, "smart", 1)
    assert settings.base == "http://127.0.0.1:8000/fhir"
    assert settings.database == Path.cwd() / "data" / "fhir.db"


def test_options_win_over_the_environment_and_that_over_the_env_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nearest wins."""
    (tmp_path / ".env").write_text("FHIR_PORT=1\nFHIR_WORKERS=2\nFHIR_MAX_COUNT=50\nOTHER=1\n")
    monkeypatch.setenv("FHIR_PORT", "3")
    monkeypatch.setenv("FHIR_WORKERS", "4")
    settings = load_settings({"port": 5, "max_count": None})
    assert (settings.port, settings.workers, settings.max_count) == (5, 4, 50)


def test_settings_do_not_change_after_the_start() -> None:
    """Settings are frozen."""
    with pytest.raises(ValueError, match="frozen"):
        load_settings().port = 1  # type: ignore[misc]


WRONG = [
    ({"FHIR_PRT": "1"}, "FHIR_PRT (from the environment) is not a setting; did you mean FHIR_PORT?"),
    ({"FHIR_STORE": "x"}, "did you mean FHIR_STORE_URL?"),
    ({"FHIR_QQQQQQQQQQ": "x"}, "`fhir-server check-config` lists the settings"),
    ({"FHIR_PORT": "abc"}, "FHIR_PORT=abc: "),
    ({"FHIR_PORT": "70000"}, "FHIR_PORT=70000: "),
    ({"FHIR_PORT": "tcp://10.0.0.1:80"}, "enableServiceLinks"),
    ({"FHIR_AUTH": "of"}, "FHIR_AUTH=of: Input should be 'smart' or 'off'"),
    ({"FHIR_WORKERS": "0"}, "FHIR_WORKERS=0: "),
    ({"FHIR_MAX_BODY": "lots"}, "FHIR_MAX_BODY=lots: "),
    (
        {"FHIR_STORE_URL": "mysql://me:secret@db/x"},
        "FHIR_STORE_URL=mysql://***@db/x: documents are kept in sqlite:///PATH, mongodb://",
    ),
    ({"FHIR_STORE_URL": "mongodb://db/x"}, "FHIR_SEARCH_URL: documents in MongoDB are searched by Elasticsearch; give its URL"),
    (
        {"FHIR_STORE_URL": "postgresql://db/x"},
        "FHIR_SEARCH_URL: documents in PostgreSQL are searched by Elasticsearch; give its URL",
    ),
    ({"FHIR_STORE_URL": "sqlite:///"}, "FHIR_STORE_URL=sqlite:///: "),
    ({"FHIR_SEARCH_URL": "http://"}, "FHIR_SEARCH_URL=http://: the search index is sqlite, or an Elasticsearch at http"),
    ({"FHIR_SEARCH_URL": "https://me:secret@"}, "FHIR_SEARCH_URL=https://***@: "),
    ({"FHIR_SEARCH_PREFIX": "Fhir-*"}, "FHIR_SEARCH_PREFIX=Fhir-*: "),
    ({"FHIR_BASE_URL": "localhost/fhir"}, "FHIR_BASE_URL=localhost/fhir: it must begin with http:// or https://"),
    ({"FHIR_BASE_URL": "https://h.example/r4"}, "FHIR_BASE_URL: with sign-in it has the form https://HOST/fhir"),
    ({"FHIR_BASE_URL": "https://h.example/ehr/fhir"}, "FHIR_BASE_URL: with sign-in it has the form https://HOST/fhir"),
    ({"FHIR_SECRET": "short-secret"}, "FHIR_SECRET: "),
    ({"FHIR_DEFAULT_COUNT": "5000"}, "FHIR_DEFAULT_COUNT=5000 is more than FHIR_MAX_COUNT=1000"),
    ({"FHIR_AUTH": "off", "FHIR_HOST": "0.0.0.0"}, "FHIR_AUTH=off is refused on 0.0.0.0"),
    ({"FHIR_AUTH": "off", "FHIR_HOST": "fhir.example.org"}, "FHIR_AUTH=off is refused on fhir.example.org"),
    (
        {"FHIR_AUTH": "off", "FHIR_HOST": "192.0.2.1", "FHIR_UNAUTHENTICATED_ADDRESS": "0.0.0.0"},
        "FHIR_AUTH=off is refused on 192.0.2.1",
    ),
    ({"FHIR_WORKERS": "2", "FHIR_STORE_URL": "memory://"}, "FHIR_WORKERS"),
]


@pytest.mark.parametrize("given, told", WRONG, ids=lambda value: str(value)[:40])
def test_a_wrong_setting_is_told_in_one_line(given: dict[str, str], told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the variable and says what to do, without secrets."""
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as raised:
        load_settings()
    text = str(raised.value)
    assert told in text
    assert "\n" not in text
    assert "secret@" not in text and "short-secret" not in text


def test_an_unknown_variable_in_the_env_file_is_refused_too(tmp_path: Path) -> None:
    """A typing error in .env is as bad as one in the environment."""
    (tmp_path / ".env").write_text("FHIR_DATADIR=/x\n")
    with pytest.raises(SettingsError, match=r"FHIR_DATADIR \(from \.env\) is not a setting; did you mean FHIR_DATA_DIR\?"):
        load_settings()


def test_a_wrong_option_is_named_as_it_was_given() -> None:
    """Who typed --port reads of --port."""
    with pytest.raises(SettingsError, match=r"FHIR_PORT=99999 \(--port\): "):
        load_settings({"port": 99999})


def test_an_empty_variable_counts_as_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """`FHIR_PORT=` of a compose file means the default."""
    monkeypatch.setenv("FHIR_PORT", "")
    assert load_settings().port == 8000


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "localhost"])
def test_sign_in_may_be_off_on_loopback(host: str) -> None:
    """Only this machine can reach these."""
    assert loopback(host)
    assert load_settings({"auth": "off", "host": host}).auth == "off"


def test_sign_in_may_be_off_where_the_address_is_named_twice() -> None:
    """A container's own address is let through only if somebody wrote it down for this purpose."""
    settings = load_settings({"auth": "off", "host": "0.0.0.0", "unauthenticated_address": "0.0.0.0"})
    assert settings.auth == "off"


def test_the_store_url_is_a_path() -> None:
    """What follows sqlite:/// is the path as written."""
    assert load_settings({"store_url": "sqlite:///sub/my.db"}).database == Path.cwd() / "sub" / "my.db"
    assert load_settings({"store_url": "sqlite:////srv/my.db"}).database == Path("/srv/my.db")


def test_every_setting_is_explained() -> None:
    """Each has one line of help, that ends like a sentence."""
    for name, field in Settings.model_fields.items():
        assert field.description and field.description.endswith("."), variable(name)
        assert "\n" not in field.description


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("mongodb://me:pw@host/db", "mongodb://***@host/db"),
        ("mongodb://a,b:27018/db", "mongodb://a,b:27018/db"),
        ("mongodb://host/db?tls=true&tlsCertificateKeyFilePassword=pw", "mongodb://host/db?***"),
        ("postgresql://host/db?password=pw", "postgresql://host/db?***"),
        ("postgresql://me:p/w@host/db", "postgresql://***@host/db"),
        ("postgresql://me:p@w@host/db", "postgresql://***@host/db"),
        ("postgresql://me:p?w@host/db", "postgresql://***"),
        ("postgresql://host/db?password=p@ss", "postgresql://***"),
        ("http://elastic:pw@[::1]:9200", "http://***@[::1]:9200"),
        ("sqlite:///a/b.db", "sqlite:///a/b.db"),
        ("sqlite", "sqlite"),
    ],
)
def test_passwords_are_not_shown(url: str, shown: str) -> None:
    """User, password and options go, hosts and path stay; what is no proper URL shows less."""
    assert without_password(url) == shown
