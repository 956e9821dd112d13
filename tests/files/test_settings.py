"""Where files lie is a matter of settings; what cannot be meant is refused at the start, what does not work by `check-config`."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from files.storage import KEY, SECRET
from robustness.running import clean_environment
from services.running import service

from fhir_server.config import Settings, SettingsError, load_settings
from fhir_server.data_folder import prepare
from fhir_server.files.bucket import Bucket
from fhir_server.files.contract import FilesUnavailable
from fhir_server.files.folder import Folder
from fhir_server.files.wiring import open_files
from fhir_server.rest.errors import as_fhir_error

S3 = "s3://bucket"
KEYS = {"FHIR_FILES_ACCESS_KEY": KEY, "FHIR_FILES_SECRET_KEY": SECRET}


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Only what a test sets counts."""
    for name in [name for name in os.environ if name.startswith(("FHIR_", "AWS_"))]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def settings(monkeypatch: pytest.MonkeyPatch, **given: str) -> Settings:
    """The settings with these variables set."""
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    return load_settings()


WRONG = [
    ({"FHIR_FILES_URL": "ftp://host/x"}, "FHIR_FILES_URL=ftp://host/x: files lie in file:///PATH or s3://BUCKET/PREFIX"),
    ({"FHIR_FILES_URL": "file://"}, "FHIR_FILES_URL=file://: "),
    ({"FHIR_FILES_URL": "file:///"}, "FHIR_FILES_URL=file:///: "),
    ({"FHIR_FILES_URL": "s3://"}, "FHIR_FILES_URL=s3://: "),
    ({"FHIR_FILES_URL": "s3://Bucket"}, "FHIR_FILES_URL=s3://Bucket: "),
    ({"FHIR_FILES_URL": "s3://bucket/../x"}, "FHIR_FILES_URL=s3://bucket/../x: "),
    ({"FHIR_FILES_URL": f"s3://{KEY}:{SECRET}@bucket"}, "FHIR_FILES_URL=s3://***@bucket: "),
    ({"FHIR_FILES_ENDPOINT": "storage.example.org"}, "it has the form https://HOST"),
    ({"FHIR_FILES_ENDPOINT": "https://storage.example.org/x"}, "it has the form https://HOST"),
    ({"FHIR_FILES_ENDPOINT": f"https://{KEY}:{SECRET}@storage.example.org"}, "keys belong in FHIR_FILES_ACCESS_KEY"),
    ({"FHIR_FILES_ENDPOINT": "http://storage.example.org"}, "FHIR_FILES_ENDPOINT: records would travel unencrypted"),
    ({"FHIR_FILES_LINK_ENDPOINT": "http://storage.example.org"}, "FHIR_FILES_LINK_ENDPOINT: records would travel unencrypted"),
    ({"FHIR_FILES_REGION": "Oslo!"}, "FHIR_FILES_REGION=Oslo!: "),
    ({"FHIR_FILES_ACCESS_KEY": KEY}, "FHIR_FILES_ACCESS_KEY and FHIR_FILES_SECRET_KEY belong together"),
    ({"FHIR_FILES_SECRET_KEY": SECRET}, "FHIR_FILES_ACCESS_KEY and FHIR_FILES_SECRET_KEY belong together"),
    ({"FHIR_FILES_LINKS": "on"}, "FHIR_FILES_LINKS=on needs FHIR_FILES_URL=s3://…"),
    ({"FHIR_FILES_LINK_SECONDS": "604801"}, "FHIR_FILES_LINK_SECONDS=604801: "),
]


@pytest.mark.parametrize(("given", "told"), WRONG, ids=lambda value: str(value)[:50])
def test_a_wrong_setting_is_told(given: dict[str, str], told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the variable and says what to do, in a line without secrets."""
    with pytest.raises(SettingsError) as raised:
        settings(monkeypatch, **given)
    assert told in str(raised.value)
    assert SECRET not in str(raised.value)
    assert "\n" not in str(raised.value)


RIGHT = [
    {"FHIR_FILES_URL": S3, "FHIR_FILES_ENDPOINT": "https://storage.example.org:9000", **KEYS},
    {"FHIR_FILES_URL": f"{S3}/a/b/", "FHIR_FILES_ENDPOINT": "http://127.0.0.1:9000"},
    {"FHIR_FILES_URL": S3, "FHIR_FILES_ENDPOINT": "http://localhost:9000"},
    {"FHIR_FILES_URL": S3, "FHIR_FILES_ENDPOINT": "http://storage:9000", "FHIR_FILES_PLAIN_HTTP": "true"},
    {
        "FHIR_FILES_URL": S3,
        "AWS_ENDPOINT_URL": "https://storage.example.org",
        "AWS_REGION": "eu-north-1",
        "FHIR_FILES_PATH_STYLE": "no",
    },
]


@pytest.mark.parametrize("given", RIGHT, ids=lambda value: str(value)[:90])
def test_a_bucket_is_chosen(given: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A bucket is opened without anything being asked of it."""
    assert isinstance(open_files(settings(monkeypatch, **given)), Bucket)


def test_the_environment_of_aws_is_held_to_tls_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """An address without TLS from AWS_ENDPOINT_URL is refused as one of our own is."""
    with pytest.raises(SettingsError, match="AWS_ENDPOINT_URL: records would travel unencrypted"):
        open_files(settings(monkeypatch, FHIR_FILES_URL=S3, AWS_ENDPOINT_URL="http://storage.example.org"))


def test_certificates_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A file of certificates that is not there is named."""
    with pytest.raises(SettingsError, match=r"FHIR_FILES_CA_FILE=nowhere\.pem cannot be read"):
        open_files(settings(monkeypatch, FHIR_FILES_URL=S3, FHIR_FILES_CA_FILE="nowhere.pem"))


@pytest.mark.parametrize(("url", "folder"), [("", "data/files"), ("file://{tmp}/my%20files", "my files")])
def test_a_folder_is_chosen(url: str, folder: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Files lie in the data folder, or in the folder of the URL; it is made at the start."""
    chosen = settings(monkeypatch, FHIR_FILES_URL=url.format(tmp=tmp_path))
    place = open_files(chosen)
    assert isinstance(place, Folder)
    prepare(chosen)
    assert (tmp_path / folder).is_dir()

    async def run() -> None:
        async with place.writing("a", "text/plain") as writer:
            await writer.write(b"x")

    asyncio.run(run())
    assert (tmp_path / folder / "a").read_bytes() == b"x"


def test_a_session_token_of_the_environment_is_not_mixed_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys of the settings count alone, whatever AWS' variables hold."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.setenv(name, "of-somebody-else")
    chosen = settings(monkeypatch, FHIR_FILES_URL="s3://files/t", FHIR_FILES_ENDPOINT=service("versitygw"), **KEYS)
    asyncio.run(open_files(chosen).check())


def test_keys_of_the_environment_of_aws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without keys in the settings those of AWS' own variables count."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    chosen = settings(monkeypatch, FHIR_FILES_URL="s3://files/t", AWS_ENDPOINT_URL_S3=service("versitygw"))
    asyncio.run(open_files(chosen).check())


def check_config(tmp_path: Path, **given: str) -> tuple[int, dict[str, object], str]:
    """Exit code, what is printed, and all of it as text."""
    environment = clean_environment(FHIR_DATA_DIR=str(tmp_path / "data"), **given)
    command = [sys.executable, "-m", "fhir_server", "check-config", "--json"]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    return done.returncode, json.loads(done.stdout), done.stdout + done.stderr


def test_check_config_tries_the_bucket(tmp_path: Path) -> None:
    """A bucket that works is no problem; one that does not is named with the reason. The secret is never shown."""
    given = {"FHIR_FILES_URL": "s3://files/t", "FHIR_FILES_ENDPOINT": service("versitygw"), **KEYS}
    code, told, text = check_config(tmp_path, **given)
    assert (code, told["problems"]) == (0, [])
    assert SECRET not in text
    code, told, text = check_config(tmp_path, **{**given, "FHIR_FILES_URL": "s3://nothing/t"})
    assert code == 2
    assert told["problems"] == [
        "FHIR_FILES_URL=s3://nothing/t: The storage for the files of jobs cannot be used: there is no such bucket (FHIR_FILES_URL)"
    ]
    assert SECRET not in text


def test_check_config_looks_at_the_folder(tmp_path: Path) -> None:
    """A folder that cannot be made is a problem; looking makes none."""
    (tmp_path / "file").write_text("")
    code, told, _ = check_config(tmp_path, FHIR_FILES_URL=f"file://{tmp_path}/file/files")
    assert code == 2
    assert told["problems"] == [f"FHIR_FILES_URL={tmp_path}/file/files cannot be made: {tmp_path}/file is not a folder"]
    code, told, _ = check_config(tmp_path)
    assert (code, told["problems"]) == (0, [])
    assert told["settings"]["FHIR_FILES_URL"] == f"file://{tmp_path}/data/files"  # type: ignore[index]
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(("full", "status", "code"), [(True, 507, "no-store"), (False, 503, "transient")])
def test_what_a_caller_is_told(full: bool, status: int, code: str) -> None:
    """507 where there is no room, 503 otherwise, with Retry-After."""
    failure = as_fhir_error(FilesUnavailable("The disk is full", full=full), "read", "1")
    assert (failure.status, failure.issues[0].code, failure.issues[0].text) == (status, code, "The disk is full")
    assert failure.headers["Retry-After"]
