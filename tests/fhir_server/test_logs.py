"""What the server logs of failures: where they happened, nothing of what was sent (SECURITY.md)."""

import asyncio
import json
import logging
import subprocess
import sys
from typing import Any

from fhir_server.observability import JsonFormatter, log_lost_failure
from fhir_server.rest.errors import as_fhir_error

SECRET = "Smith, 1970-01-01"


def logged(record: logging.LogRecord) -> dict[str, Any]:
    line: dict[str, Any] = json.loads(JsonFormatter().format(record))
    return line


class Kept(logging.Handler):
    """Keeps the records of the server's logger while it is open."""

    def __enter__(self) -> list[logging.LogRecord]:
        self.records: list[logging.LogRecord] = []
        logging.getLogger("fhir_server").addHandler(self)
        return self.records

    def __exit__(self, *_: object) -> None:
        logging.getLogger("fhir_server").removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


def fail() -> None:
    """Raises what quotes a value, from another failure that quotes it too."""
    try:
        int(SECRET)
    except ValueError as first:
        raise KeyError(SECRET) from first


def failure() -> Exception:
    try:
        fail()
    except KeyError as raised:
        return raised
    raise AssertionError


def test_an_unforeseen_failure_is_logged_without_its_message() -> None:
    """Types, files, lines and functions of the whole chain; the messages stay out of log and answer."""
    with Kept() as records:
        answer = as_fhir_error(failure(), "read", "request-1")
    [record] = records
    line = logged(record)
    assert (line["interaction"], line["request"], answer.status) == ("read", "request-1", 500)
    told = line["exception"].splitlines()
    assert told[0] == "KeyError"
    assert "caused by ValueError" in told
    assert any(frame.startswith("  tests/fhir_server/test_logs.py:") and frame.endswith(" in fail") for frame in told)
    assert "Smith" not in json.dumps(line) + str(answer)


def test_so_is_one_that_another_library_logs() -> None:
    """Whoever logs an exception: the formatter of all logs leaves its message out."""
    try:
        fail()
    except KeyError:
        record = logging.LogRecord("uvicorn.error", logging.ERROR, "", 0, "Exception in ASGI application", (), sys.exc_info())
    assert "Smith" not in json.dumps(logged(record))


def test_a_failure_that_nobody_waits_for_is_logged_the_same_way() -> None:
    """The event loop's own message would quote the task and what it failed with."""

    async def run() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(log_lost_failure)
        loop.call_exception_handler({"message": f"Exception in callback f({SECRET!r})", "exception": failure()})

    with Kept() as records:
        asyncio.run(run())
    line = logged(records[0])
    assert line["exception"].startswith("KeyError")
    assert "Smith" not in json.dumps(line)


LOGGING = """
import logging, http.server, threading, httpx
from fhir_server.observability import configure_logging
configure_logging("debug")
server = http.server.HTTPServer(("127.0.0.1", 0), type("Quiet", (http.server.BaseHTTPRequestHandler,), {"log_message": lambda *_: None}))
threading.Thread(target=server.handle_request).start()
httpx.get(f"http://127.0.0.1:{server.server_port}/Patient.ndjson?signature=SECRET", headers={"Authorization": "Bearer SECRET"}, timeout=60)
logging.getLogger("fhir_server.sample").debug("of our own")
logging.getLogger("httpx").warning("of theirs")
"""


def test_libraries_log_warnings_only() -> None:
    """Also when everything is to be logged: what they tell of each request holds its URL and headers, and those may hold secrets."""
    told = subprocess.run([sys.executable, "-c", LOGGING], capture_output=True, text=True, timeout=300, check=True).stderr
    assert [json.loads(line)["message"] for line in told.splitlines()] == ["of our own", "of theirs"]
