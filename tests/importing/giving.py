"""A server of files on this machine, as those who give data out have them: whole, in ranges, packed, cut off, endless, wrong."""

import gzip
import re
import ssl
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
from exporting.asking import finished

KICK_OFF = {"Accept": "application/fhir+json", "Prefer": "respond-async", "Content-Type": "application/json"}


class Giving:
    """`files` by path, `cuts`: path -> how often it is cut off in the middle (those in `changing` are other files then); `streams` never
    end by themselves; `pauses`: seconds before each line of a file; `busy`: how often 503 is said in place of a file. The
    second halves of those in `held` are given once `more` is set.
    `asked` tells the Range of each request ("" for none)."""

    def __init__(self, port: int) -> None:
        self.root = f"http://127.0.0.1:{port}/data"
        self.files: dict[str, bytes] = {}
        self.cuts: dict[str, int] = {}
        self.tags: dict[str, int] = {}
        self.changing: set[str] = set()
        self.untagged: set[str] = set()
        self.without_ranges: set[str] = set()
        self.redirects: dict[str, str] = {"elsewhere": "http://169.254.169.254/latest"}
        self.streams: dict[str, Iterable[bytes]] = {}
        self.pauses: dict[str, float] = {}
        self.busy: dict[str, int] = {}
        self.held: set[str] = set()
        self.more = threading.Event()
        self.asked: list[tuple[str, str]] = []
        self.sent = 0


class _Handler(BaseHTTPRequestHandler):
    """Gives out what its server has."""

    protocol_version = "HTTP/1.1"
    told: Giving

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: tests are quiet."""

    def do_GET(self) -> None:
        name = self.path.removeprefix("/data/").partition("?")[0]
        asked = self.headers.get("Range", "")
        self.told.asked.append((name, asked))
        if name in self.told.redirects:
            self.send_response(302)
            self.send_header("Location", self.told.redirects[name])
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif self.told.busy.get(name, 0):
            self.told.busy[name] -= 1
            self.send_response(503)
            self.send_header("Retry-After", "0")
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif name in self.told.streams:
            self._stream(self.told.streams[name])
        elif name in self.told.files:
            self._file(name, self.told.files[name], asked)
        else:
            self.send_error(404)

    def _stream(self, pieces: Iterable[bytes]) -> None:
        self.send_response(200)
        self.end_headers()
        self.close_connection = True
        try:
            for piece in pieces:
                self.told.sent += self.wfile.write(piece)
                self.wfile.flush()
        except OSError:
            return

    def _file(self, name: str, content: bytes, asked: str) -> None:
        asked = "" if name in self.told.without_ranges else asked
        first, _, last = asked.removeprefix("bytes=").partition("-")
        start, end = int(first or 0), min(int(last) + 1 if last else len(content), len(content))
        self.send_response(206 if asked else 200)
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(content)}")
        tag = self.told.tags.get(name, 1)
        if name in self.told.untagged:
            self.send_header("Last-Modified", f"Thu, 01 Jan 2026 00:00:{tag:02d} GMT")
        else:
            self.send_header("ETag", f'"{tag}"')
        self.send_header("Content-Length", str(end - start))
        self.end_headers()
        if self.told.cuts.get(name, 0) and not last:
            self.told.cuts[name] -= 1
            self.wfile.write(content[start : start + (end - start) // 2])
            if name in self.told.changing:
                self.told.tags[name] = self.told.tags.get(name, 1) + 1
            self.close_connection = True
            return
        half = max(start, len(content) // 2) if name in self.told.held and end > len(content) // 2 else end
        self._give(name, content[start:half])
        if half < end and not self.close_connection:
            self.told.more.wait(60)
            self._give(name, content[half:end])

    def _give(self, name: str, content: bytes) -> None:
        pauses = self.told.pauses
        try:
            for line in content.splitlines(keepends=True) if name in pauses else [content]:
                time.sleep(pauses.get(name, 0.0))
                self.wfile.write(line)
        except OSError:
            self.close_connection = True


@contextmanager
def giving(context: ssl.SSLContext | None = None) -> Iterator[Giving]:
    """Such a server, on a free port; with TLS where a context is given."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {}))
    server.daemon_threads = True
    told = Giving(server.server_address[1])
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        told.root = told.root.replace("http://", "https://")
    server.RequestHandlerClass.told = told  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    yield told
    server.shutdown()
    server.server_close()


def ndjson(documents: list[dict[str, Any]], *, packed: bool = False) -> bytes:
    """Documents as a file."""
    content = httpx.Response(200).content + b"".join(
        httpx.Request("POST", "http://h", json=each).content + b"\n" for each in documents
    )
    return gzip.compress(content) if packed else content


def patients(start: int, count: int, **members: Any) -> list[dict[str, Any]]:
    """Patients with numbers as ids."""
    return [{"resourceType": "Patient", "id": f"p{number}", **members} for number in range(start, start + count)]


def begin(client: httpx.Client, inputs: list[tuple[str, str]], **more: Any) -> httpx.Response:
    """The answer to a kick-off with these types and URLs."""
    told = [{"type": type, "url": url} for type, url in inputs]
    body = {"inputFormat": "application/fhir+ndjson", "inputSource": "https://other.example.org", "input": told, **more}
    return client.post("$import", json=body, headers=KICK_OFF)


def imported(client: httpx.Client, inputs: list[tuple[str, str]], **more: Any) -> httpx.Response:
    """The answer about an import that has ended."""
    response = begin(client, inputs, **more)
    assert response.status_code == 202, response.text
    return finished(client, response.headers["content-location"])


def lines_told(response: httpx.Response) -> int:
    """How many lines have been imported, as `X-Progress` tells."""
    found = re.search(r"(\d+) lines", response.headers.get("x-progress", ""))
    return int(found.group(1)) if found else 0
