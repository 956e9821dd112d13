"""Stopping: what was begun is finished, what was answered is kept"""

import socket
import time
from pathlib import Path

import httpx

from tests.api.conftest import Running

HEAD = b"POST /fhir/Patient HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/fhir+json\r\nContent-Length: 40\r\n\r\n"
BODY = b'{"resourceType":"Patient","active":true}'


def test_running_requests_finish(tmp_path: Path) -> None:
    """A request whose body is still coming when the server is told to stop is answered, and its resource is there afterwards."""
    assert len(BODY) == 40
    first = Running(tmp_path)
    first.start()
    with socket.create_connection(("127.0.0.1", first.port), timeout=60) as client:
        client.sendall(HEAD + BODY[:10])
        while not first.server.server_state.tasks:
            time.sleep(0.01)
        first.server.should_exit = True
        while first.listening.fileno() != -1:  # until it lets nobody in any more
            time.sleep(0.01)
        client.sendall(BODY[10:])
        assert client.recv(100).startswith(b"HTTP/1.1 201 ")
    first.stop()
    second = Running(tmp_path)
    second.start()
    try:
        assert httpx.get(f"{second.root}/fhir/Patient?active=true").json()["total"] == 1
    finally:
        second.stop()


def test_paging_goes_on_after_a_restart(tmp_path: Path) -> None:
    """A next link of before a restart still works: its signature is kept in the data folder."""
    first = Running(tmp_path)
    first.start()
    for n in range(4):
        httpx.put(f"{first.root}/fhir/Patient/p{n}", json={"resourceType": "Patient", "id": f"p{n}"})
    bundle = httpx.get(f"{first.root}/fhir/Patient?_count=2").json()
    first.stop()
    second = Running(tmp_path)
    second.start()
    try:
        following = next(link["url"] for link in bundle["link"] if link["relation"] == "next")
        answer = httpx.get(following.replace(first.root, second.root)).json()
        found = {e["resource"]["id"] for e in [*bundle["entry"], *answer["entry"]]}
        assert found == {"p0", "p1", "p2", "p3"}
    finally:
        second.stop()
