"""A FHIR server of few words, which answers as a test says: slow, overloaded, mistaken, forgetful."""

import gzip
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

Json = dict[str, Any]


class Says(NamedTuple):
    """An answer. `cut`: the connection ends after that many bytes. `packed`: with gzip, and in chunks, as servers in Java send it."""

    body: Any = None
    status: int = 200
    headers: dict[str, str] = {}
    cut: int | None = None
    packed: bool = False


class Faking:
    """`answers`: path below the base, with its query -> what is said, in order; the last one again and again. `asked` are the requests:
    method, path, headers."""

    def __init__(self, port: int) -> None:
        self.origin = f"http://127.0.0.1:{port}"
        self.base = f"{self.origin}/fhir"
        self.answers: dict[str, list[Says]] = {}
        self.asked: list[tuple[str, str, dict[str, str]]] = []

    def says(self, path: str, *answers: Says) -> None:
        """What is answered at that path."""
        self.answers[path] = list(answers)

    def knows(self, *types: str, export: bool = False) -> None:
        """Its CapabilityStatement."""
        operations = (
            [{"name": "export", "definition": "http://hl7.org/fhir/uv/bulkdata/OperationDefinition/export"}] if export else []
        )
        rest = {"mode": "server", "resource": [{"type": type} for type in types], "operation": operations}
        self.says("metadata", Says({"resourceType": "CapabilityStatement", "fhirVersion": "4.0.1", "rest": [rest]}))

    def paths(self) -> list[str]:
        """Paths that were asked for."""
        return [path for _, path, _ in self.asked]


@contextmanager
def faking() -> Iterator[Faking]:
    """Such a server, on a free port."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: tests are quiet."""

        def _answer(self) -> None:
            path = self.path.removeprefix("/fhir/")
            told.asked.append((self.command, path, {name.lower(): value for name, value in self.headers.items()}))
            said = told.answers.get(path, [Says({"resourceType": "OperationOutcome", "issue": []}, 404)])
            one = said.pop(0) if len(said) > 1 else said[0]
            body = one.body if isinstance(one.body, bytes) else b"" if one.body is None else json.dumps(one.body).encode()
            size = {"Content-Length": str(len(body))}
            if one.packed:
                body = gzip.compress(body)
                body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
                size = {"Content-Encoding": "gzip", "Transfer-Encoding": "chunked"}
            self.send_response(one.status)
            for name, value in {"Content-Type": "application/fhir+json", **size, **one.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if one.cut is not None:
                body, self.close_connection = body[: one.cut], True
            self.wfile.write(body)

        def do_GET(self) -> None:
            self._answer()

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", "0")))
            self._answer()

        def do_DELETE(self) -> None:
            self._answer()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    told = Faking(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    yield told
    server.shutdown()
    server.server_close()


def page(documents: list[Json], next: str = "", **more: Any) -> Says:
    """A page of a search."""
    entries = [{"resource": document} for document in documents]
    link = [{"relation": "next", "url": next}] if next else []
    return Says({"resourceType": "Bundle", "type": "searchset", "link": link, "entry": entries, **more})


def patients(*numbers: int, **members: Any) -> list[Json]:
    """Patients with these numbers as ids."""
    return [{"resourceType": "Patient", "id": f"p{number}", **members} for number in numbers]


def lines(documents: list[Json]) -> bytes:
    """Documents as NDJSON."""
    return b"".join(json.dumps(document).encode() + b"\n" for document in documents)
