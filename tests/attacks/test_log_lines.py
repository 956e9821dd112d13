"""Nobody writes lines of their own into the log, or secrets and names into it."""

import json
import socket
from pathlib import Path

import httpx
import pytest
from browser.running import PASSWORD, command
from granting import Browser, Form
from robustness.running import Server

FORGED = '{"time":"2026-01-01T00:00:00+00:00","level":"error","logger":"forged","message":"forged"}'


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What a server wrote that logs all it can while it was lied to, signed in at, and asked for what is not there."""
    folder = tmp_path_factory.mktemp("log") / "data"
    with Server(folder, "--auth", "smart", "--log-level", "debug") as server:
        command(server, "user", "add", "anna", "--role", "practitioner", "--password-stdin", input=f"{PASSWORD}\n")
        token = command(server, "token", "--scope", "system/*.cruds")
        for text in (f"x\r\n{FORGED}", f"x\n{FORGED}", f"\x1b[2J{FORGED}", f"\u2028{FORGED}"):
            _sign_in(server, text, text)
            httpx.get(f"{server.base}/Patient", params={"name": text}, headers={"Authorization": f"Bearer {token}"})
            httpx.get(f"{server.url}/oauth/authorize", params={"client_id": text, "redirect_uri": text, "state": text})
            httpx.post(f"{server.url}/oauth/token", data={"grant_type": text, "client_id": text, "code": text})
        _raw(
            server.port,
            b"GET /fhir/Patient HTTP/1.1\r\nHost: x\r\nX-Request-Id: a\x0b" + FORGED.encode() + b"\r\nConnection: close\r\n\r\n",
        )
        assert _sign_in(server, "anna", PASSWORD).status_code == 200
        httpx.get(f"{server.base}/Patient?family=Zwanzigsecret", headers={"Authorization": f"Bearer {token}"})
        server.stop()
        text = Path(server._log).read_text(encoding="utf-8", errors="replace")
        assert token not in text
        return text


def _sign_in(server: Server, user: str, password: str) -> httpx.Response:
    browser = Browser(server.url)
    with browser.http:
        page = browser.http.get("/oauth/sign-in")
        return browser.post("/oauth/sign-in", Form(page).hidden | {"username": user, "password": password})


def _raw(port: int, request: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(request)
        while connection.recv(4096):
            pass


def test_every_line_is_the_servers_own(log: str) -> None:
    """Whatever was sent as a name, a parameter or a header, no line begins where a caller wanted one to."""
    for line in log.splitlines():
        if line.startswith("{"):
            assert json.loads(line)["logger"] != "forged"
    assert "\x1b[2J" not in log


def test_no_secret_and_no_name_is_written(log: str) -> None:
    """Neither passwords nor tokens nor what was searched for, also at the level at which most is logged."""
    assert PASSWORD not in log
    assert "Zwanzigsecret" not in log
