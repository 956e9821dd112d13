"""What the README tells people to type works, line by line, on a server started as it says."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
from robustness.running import Server

ROOT = Path(__file__).resolve().parents[2]
BASE = "http://127.0.0.1:8000"


class Line(NamedTuple):
    """A curl command and the status that it is to have."""

    command: str
    status: int


def tour() -> list[Line]:
    """The curl lines of the README's sh blocks, with the numbers behind them."""
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    return [Line(*_split(line)) for block in blocks for line in block.splitlines()]


def _split(line: str) -> tuple[str, int]:
    command, _, status = line.rpartition("   # ")
    return command, int(status)


def carry_out(command: str, url: str) -> httpx.Response:
    """What curl would do, for the few options that the README uses."""
    words = iter(shlex.split(command)[1:])
    method, headers, body, address = "GET", {}, None, ""
    for word in words:
        if word == "-X":
            method = next(words)
        elif word == "-H":
            name, _, value = next(words).partition(": ")
            headers[name] = value
        elif word == "-d":
            body = next(words)
        else:
            assert word.startswith(BASE), word
            address = url + word.removeprefix(BASE)
    return httpx.request(method, address, headers=headers, content=body, timeout=60)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The server of `make run`, on a port of its own."""
    with Server(tmp_path_factory.mktemp("readme") / "data", "--sample-data") as running:
        yield running


def test_the_tour_goes_as_the_readme_says(server: Server) -> None:
    """Every line of the tour has the status that stands behind it."""
    lines = tour()
    assert len(lines) > 10
    for line in lines:
        answer = carry_out(line.command, server.url)
        assert answer.status_code == line.status, f"{line.command}\n{answer.status_code} {answer.text[:1000]}"


def test_the_tour_shows_something(server: Server) -> None:
    """The searches of the tour find what it talks about: sample patients, and appointments with their patients."""
    patients, appointments, *_ = (carry_out(line.command, server.url).json() for line in tour()[:2])
    assert patients["total"] >= 20
    modes = [entry["search"]["mode"] for entry in appointments["entry"]]
    assert modes.count("match") == 5 and "include" in modes


def test_the_request_files_name_what_exists(tmp_path: Path) -> None:
    """Each request of docs/requests/*.http gets an answer that is no error of the server, and no 404."""
    with Server(tmp_path / "data") as server:
        _send_all(server)


def _send_all(server: Server) -> None:
    for path in (ROOT / "docs" / "requests").glob("*.http"):
        for request in re.split(r"^###.*\n", path.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
            head, _, body = request.strip().partition("\n\n")
            first, *rest = head.splitlines()
            method, address = first.split(" ", 1)
            headers = dict(line.split(": ", 1) for line in rest)
            answer = httpx.request(method, address.replace(BASE, server.url), headers=headers, content=body or None, timeout=60)
            assert answer.status_code < 500 and answer.status_code != 404, f"{first}: {answer.status_code} {answer.text[:500]}"


def test_the_make_targets_of_the_readme_exist() -> None:
    """`make run` and `make test`, as promised."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"^make (\w+)", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)
