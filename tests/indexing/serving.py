"""Server processes with Elasticsearch, for tests over HTTP; and a slow way to Elasticsearch."""

import asyncio
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from services.running import free_port

FHIR = {"Content-Type": "application/fhir+json"}


class Process:
    """A server process of its own. `settings` are FHIR_… variables."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.port = free_port()
        self._folder = folder
        self._environment = {k: v for k, v in os.environ.items() if not k.startswith("FHIR_")} | {
            "FHIR_AUTH": "off", "FHIR_DATA_DIR": str(folder / "data"), "FHIR_PORT": str(self.port), "FHIR_SYNCHRONOUS": "NORMAL",
            "FHIR_SECRET": "the same in all processes", **settings,
        }  # fmt: skip
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}/fhir/", timeout=60)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / f"log-{self.port}").open("ab") as log:
            command = [sys.executable, "-m", "fhir_server", "serve"]
            self._process = subprocess.Popen(command, env=self._environment, stdout=log, stderr=log)
        deadline = time.monotonic() + 60
        while True:
            try:
                if self.client.get("../livez").status_code == 200:
                    return
            except httpx.TransportError:
                assert self._process.poll() is None and time.monotonic() < deadline, (self._folder / f"log-{self.port}").read_text()
                time.sleep(0.05)

    def kill(self) -> None:
        """SIGKILL: nothing is finished, nothing is released."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(60)

    def stop(self) -> None:
        """End it, if it runs."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            self._process.wait(90)

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run another command with the same settings."""
        command = [sys.executable, "-m", "fhir_server", *words]
        return subprocess.run(command, env=self._environment, capture_output=True, text=True, timeout=300, check=False)

    def put(self, id: str, **members: Any) -> httpx.Response:
        """Store a Patient."""
        answer = self.client.put(f"Patient/{id}", json={"resourceType": "Patient", "id": id, **members}, headers=FHIR)
        assert answer.status_code in (200, 201), answer.text
        return answer

    def total(self, text: str) -> int:
        """How many match."""
        answer = self.client.get(text)
        assert answer.status_code == 200, answer.text
        total: int = answer.json()["total"]
        return total


@contextmanager
def processes(*made: Process) -> Iterator[None]:
    """Started, and gone at the end."""
    try:
        with ThreadPoolExecutor() as pool:
            list(pool.map(Process.start, made))
        yield
    finally:
        for process in made:
            process.stop()
            process.client.close()


class SlowWay:
    """A TCP relay that holds back each piece of what the server answers for `delay` seconds."""

    def __init__(self, port: int) -> None:
        self.delay = 0.0
        self._to = port
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    def __enter__(self) -> "SlowWay":
        self._thread.start()
        self._ready.wait(60)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(60)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    async def _run(self) -> None:
        self._loop, self._ended = asyncio.get_running_loop(), asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        server = await asyncio.start_server(self._relay, "127.0.0.1", 0)
        self._port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._ended.wait()
        server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._to)
        tasks = [asyncio.create_task(self._pump(reader, back, False)), asyncio.create_task(self._pump(there, writer, True))]
        self._tasks.update(tasks)
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for each in (writer, back):
            each.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answers: bool) -> None:
        while piece := await reader.read(65_536):
            if answers and self.delay:
                await asyncio.sleep(self.delay)
            if not answers:
                await self._asked(piece)
            writer.write(piece)
            await writer.drain()

    async def _asked(self, piece: bytes) -> None:
        """Return once what the server is asked may go on."""


class Gate(SlowWay):
    """A TCP relay that lets no more documents pass once an index has been told how far the values of an added parameter are gathered, in
    the midst of it; all else passes, so leases are kept. They pass again when it is opened."""

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self._shut, self._opened = False, asyncio.Event()

    def open(self) -> None:
        """Let all pass from now on."""
        self._loop.call_soon_threadsafe(self._opened.set)

    async def _asked(self, piece: bytes) -> None:
        if self._shut and b"/_bulk" in piece:
            await self._opened.wait()
        self._shut = self._shut or re.search(rb'"added":{"[^"]+":{[^}]*"scanned":[1-9]', piece) is not None
