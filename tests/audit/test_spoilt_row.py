"""A server goes on signing and indexing the audit although a row of it was spoilt, says so in its log, and answers as before."""

import asyncio
import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import httpx
from audit.conftest import SECRET, Tamper, lived, tamper, verified
from robustness.running import Server

EVERY = 2
"""Seconds between two checkpoints."""
LEFT_OUT = "an AuditEvent cannot be read and is left out of the index"
JSON_LINE = re.compile(r"\{").match
SPOIL = "CREATE TRIGGER spoil AFTER INSERT ON log BEGIN UPDATE log SET body = x'00' WHERE seq = NEW.seq; END"
"""Rows are spoilt in the transaction that writes them: no checkpoint has read one before that."""


def test_one_spoilt_row_keeps_nothing_else_from_being_signed(tmp_path: Path) -> None:
    """A `critical` line names the event; checkpoints go on over what comes after it, all of them in the log; `audit verify` names it."""
    folder = tmp_path / "data"
    environment = {"FHIR_SECRET": SECRET.decode(), "FHIR_AUDIT_CHECKPOINT_SECONDS": str(EVERY)}
    server = Server(folder, environment=environment)
    with server, httpx.Client(base_url=server.base, timeout=60) as http:
        for number in range(2):
            assert http.get(f"Patient/{number}").status_code == 404
        tamper(folder, waiting(SPOIL))
        assert http.get("Patient/spoilt").status_code == 404
        tamper(folder, waiting("DROP TRIGGER spoil"))
        position = newest(folder)
        assert http.get("Patient/after").status_code == 404
        [line] = until(lambda: logged(server, "an AuditEvent cannot be read"))
        assert (line["level"], line["event"]) == ("critical", f"event-{position}")
        signed = len(until(lambda: signed_behind(server, position)))
        assert http.get("Patient/later").status_code == 404
        until(lambda: signed_behind(server, position)[signed:])
        assert server.stop() == 0
    assert len(logged(server, "an AuditEvent cannot be read")) == 1, "it is told once, by the checkpoint over it"
    code, report = verified(folder, "--anchors", str(server._log))
    found = {(each["kind"], each["where"]) for each in report["findings"]}
    assert code == 1 and ("unreadable", f"AuditEvent/event-{position}") in found
    assert not {kind for kind, _ in found} & {"checkpoint", "key"}
    assert report["unsigned"] == 0 and report["anchors"] == report["checkpoints"] >= 2


def test_one_spoilt_row_leaves_searches_and_reads_as_they_are(tmp_path: Path) -> None:
    """It is found when events are indexed: the others are searched by all that leads to them. Whatever fails because it reads it keeps
    nobody from reading what was written since."""
    folder = tmp_path / "data"
    asyncio.run(lived(folder, 4))
    position = spoil_newest(folder)
    server = Server(folder, environment={"FHIR_SECRET": SECRET.decode()})
    with server, httpx.Client(base_url=server.base, timeout=60) as http:
        assert http.put("Patient/p", json={"resourceType": "Patient", "id": "p"}).status_code == 201
        assert http.get("AuditEvent?_summary=count").json()["total"] >= 7
        assert http.get("AuditEvent?_count=50&_sort=-date").status_code == 200
        assert http.get("Patient/p/$access-log").json()["entry"]
        assert http.get("Patient?_include=*").status_code == 200
        for number in range(10):
            assert http.get("$meta").status_code == 500
            birth = f"19{number + 10}-01-01"
            put = http.put("Patient/p", json={"resourceType": "Patient", "id": "p", "birthDate": birth})
            assert put.status_code == 200
            assert http.get("Patient/p").json()["birthDate"] == birth
        assert [line["event"] for line in logged(server, LEFT_OUT)] == [f"event-{position}"]


def spoil_newest(folder: Path) -> int:
    """Make the newest row of events one that nobody can read; its position."""
    position = newest(folder)
    tamper(folder, waiting(f"UPDATE log SET body = x'00' WHERE seq = {position}"))
    return position


def newest(folder: Path) -> int:
    """The position of the newest row of events."""
    found: list[int] = []
    tamper(folder, lambda connection: found.extend(row for (row,) in connection.execute("SELECT max(seq) FROM log")))
    return found[0]


def waiting(statement: str) -> Tamper:
    """The statement, once a server that writes at this moment lets it."""

    def work(connection: apsw.Connection) -> None:
        connection.set_busy_timeout(60_000)
        connection.execute(statement)

    return work


def logged(server: Server, message: str) -> list[Any]:
    """The lines of its log with this message."""
    lines = server._log.read_text(encoding="utf-8").split("\n")[:-1]
    return [line for line in map(json.loads, filter(JSON_LINE, lines)) if line["message"] == message]


def signed_behind(server: Server, position: int) -> list[Any]:
    """Of the checkpoints in its log those that reach past a position."""
    return [line for line in logged(server, "a checkpoint of the audit was signed") if line["until"] > position]


def until(work: Callable[[], list[Any]]) -> list[Any]:
    """What `work` comes to as soon as it comes to anything."""
    end = time.monotonic() + 60
    while not (found := work()):
        assert time.monotonic() < end
        time.sleep(0.05)
    return found
