"""The command line: help everywhere, one clear line for what cannot be done, exit codes that scripts can rely on."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import httpx
import pytest
from robustness.running import Server, clean_environment

COMMANDS = ("serve", "load", "check-config", "token", "version")


def run(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """The finished command."""
    command = [sys.executable, "-m", "fhir_server", *arguments]
    return subprocess.run(
        command, cwd=cwd, env=clean_environment(**environment), capture_output=True, text=True, check=False, timeout=300
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str, tmp_path: Path) -> None:
    """--help, exit code 0."""
    done = run(command, "--help", cwd=tmp_path)
    assert done.returncode == 0
    assert f"Usage: fhir-server {command}" in done.stdout


def test_the_overview_names_every_command(tmp_path: Path) -> None:
    """`fhir-server --help` lists them."""
    done = run("--help", cwd=tmp_path)
    assert all(command in done.stdout for command in COMMANDS)


def test_version_is_that_of_the_project(tmp_path: Path) -> None:
    """As JSON for scripts."""
    versions = json.loads(run("version", "--json", cwd=tmp_path).stdout)
    assert versions["fhir"] == "4.0.1"
    assert versions["server"].count(".") == 2


def test_a_token_is_for_whoever_can_read_the_data_folder(tmp_path: Path) -> None:
    """A random word on standard output and nothing else; it stands in the store as a hash."""
    done = run("token", "--scope", "system/*.cruds", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    [token] = done.stdout.split()
    assert len(token) > 40
    assert token.encode() not in (tmp_path / "data" / "fhir.db").read_bytes()


@pytest.mark.parametrize(
    ("scope", "told"),
    [
        ("system/*.write system/Patient.sr", "system/Patient.sr: the letters come once each and in the order cruds"),
        ("openid", "no scope gives access to anything"),
        ("patient/*.rs", "name it with --patient ID"),
        ("user/*.rs", "they are about a user"),
        ("system/Pateint.rs", "Pateint is not a resource type"),
        ("system/Observation.rs?subject.name=x", "subject.name cannot narrow a scope"),
    ],
)
def test_a_token_that_would_be_good_for_nothing_is_not_made(scope: str, told: str, tmp_path: Path) -> None:
    """Exit code 2 and what is wrong with the scopes; nothing is written."""
    done = run("token", "--scope", scope, cwd=tmp_path)
    assert done.returncode == 2 and done.stdout == ""
    assert told in " ".join(done.stderr.split())
    assert not (tmp_path / "data").exists()


def test_a_token_is_about_a_patient_who_is_there(tmp_path: Path) -> None:
    """An id that no Patient has, or has any more, is refused; nothing is printed on standard output."""
    (tmp_path / "one.ndjson").write_text('{"resourceType":"Patient","id":"one"}')
    assert run("load", "one.ndjson", cwd=tmp_path).returncode == 0
    for id in ("nope", "Patient/one"):
        done = run("token", "--scope", "patient/*.rs", "--patient", id, cwd=tmp_path)
        assert done.returncode == 2 and done.stdout == ""
        assert f"there is no Patient/{id} on this server" in " ".join(done.stderr.split())
    assert len(run("token", "--scope", "patient/*.rs", "--patient", "one", cwd=tmp_path).stdout.split()) == 1


REFUSED: list[tuple[Sequence[str], dict[str, str], str]] = [
    (["--auth", "smrt"], {}, "FHIR_AUTH="),
    (["--auth", "off", "--host", "0.0.0.0"], {}, "FHIR_AUTH=off is refused on 0.0.0.0"),
    (["--auth", "off"], {"FHIR_PRT": "1"}, "FHIR_PRT (from the environment) is not a setting; did you mean FHIR_PORT?"),
    (["--auth", "off", "--workers", "0"], {}, "FHIR_WORKERS=0 (--workers): "),
    (["--auth", "off", "--data-dir", "a-file"], {}, "a-file is not a folder"),
    (["--auth", "off", "--data-dir", "a-file/below"], {}, "cannot be made"),
    (
        ["--auth", "off", "--host", "no.such.host.invalid"],
        {"FHIR_UNAUTHENTICATED_ADDRESS": "no.such.host.invalid"},
        "is not an address",
    ),
]


@pytest.mark.parametrize("options, environment, told", REFUSED, ids=lambda value: str(value)[:40])
def test_serve_refuses_in_one_line(options: Sequence[str], environment: dict[str, str], told: str, tmp_path: Path) -> None:
    """What is wrong with settings, address or data folder is said before anything starts; exit code 2."""
    (tmp_path / "a-file").touch()
    done = run("serve", *options, cwd=tmp_path, **environment)
    assert done.returncode == 2
    assert told in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    """One line with address and what to do."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = run("serve", "--auth", "off", "--port", str(port), cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith(f"fhir-server: cannot listen on 127.0.0.1:{port}: Address already in use.")


def test_a_broken_database_is_named(tmp_path: Path) -> None:
    """A file that is no database stops the start with a sentence, not with a traceback."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "fhir.db").write_bytes(b"this is not a database, but long enough to look like one" * 100)
    done = run("serve", "--auth", "off", "--port", "0", "--data-dir", "data", cwd=tmp_path)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "fhir.db" in done.stderr


@pytest.mark.parametrize(
    "workers, sign", [("1", signal.SIGTERM), ("1", signal.SIGINT), ("2", signal.SIGTERM), ("2", signal.SIGINT)]
)
def test_serve_stops_when_asked(workers: str, sign: signal.Signals, tmp_path: Path) -> None:
    """SIGTERM and Ctrl+C end it in order, with any number of workers, without a traceback."""
    with Server(tmp_path / "data", "--workers", workers) as server:
        assert httpx.get(f"{server.base}/metadata", timeout=60).status_code == 200
        assert server.process is not None
        os.kill(server.process.pid, sign)
        assert server.wait() in (0, 130, -sign)
        assert "Traceback" not in server.log()


def test_sample_data_come_once_and_only_into_an_empty_store(tmp_path: Path) -> None:
    """--sample-data fills an empty store at the first start, leaves it alone at the second, and any other store altogether."""
    for _ in range(2):
        with Server(tmp_path / "data", "--sample-data") as server:
            assert httpx.get(f"{server.base}/Patient?_summary=count", timeout=60).json()["total"] == 20
            server.stop()
    (tmp_path / "own.ndjson").write_text('{"resourceType":"Patient","id":"own"}')
    assert run("load", "own.ndjson", "--data-dir", "other", cwd=tmp_path).returncode == 0
    with Server(tmp_path / "other", "--sample-data") as server:
        assert httpx.get(f"{server.base}/Patient?_summary=count", timeout=60).json()["total"] == 1


def test_check_config_shows_what_is_in_effect(tmp_path: Path) -> None:
    """Every setting with its value, the secret hidden; exit code 0 where the server could start."""
    done = run("check-config", "--json", cwd=tmp_path, FHIR_AUTH="off", FHIR_SECRET="a-very-secret-secret", FHIR_PORT="8123")
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert shown["problems"] == []
    assert shown["settings"]["FHIR_PORT"] == 8123
    assert shown["settings"]["FHIR_BASE_URL"] == "http://127.0.0.1:8123/fhir"
    assert shown["settings"]["FHIR_STORE_URL"] == f"sqlite:///{tmp_path / 'data' / 'fhir.db'}"
    assert "a-very-secret-secret" not in done.stdout
    assert not (tmp_path / "data").exists()


def test_check_config_says_what_is_not_set(tmp_path: Path) -> None:
    """For people it says so; for scripts it is null."""
    lines = run("check-config", cwd=tmp_path, FHIR_AUTH="off").stdout.splitlines()
    assert "FHIR_TLS_CERT=not set" in lines and not [line for line in lines if line.endswith("=None")]
    assert json.loads(run("check-config", "--json", cwd=tmp_path, FHIR_AUTH="off").stdout)["settings"]["FHIR_TLS_CERT"] is None


def test_check_config_tells_what_would_stop_the_server(tmp_path: Path) -> None:
    """Exit code 2 and every problem, for people and for scripts."""
    (tmp_path / "a-file").touch()
    done = run("check-config", "--data-dir", "a-file", cwd=tmp_path)
    assert done.returncode == 2
    assert "is not a folder" in done.stderr
    told = json.loads(run("check-config", "--json", cwd=tmp_path, FHIR_NONSENSE="1").stdout)
    assert "FHIR_NONSENSE" in told["problems"][0]
