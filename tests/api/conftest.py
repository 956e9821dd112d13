"""A server on a free port of this machine, with an empty data folder, for the tests that go over HTTP."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from fhir_server.app import Application, create_app
from fhir_server.cli.serve import KEEP_ALIVE
from fhir_server.config import Settings
from fhir_server.rest.protocol import HttpProtocol
from search.indexes.sqlite.index import SqliteIndex

FHIR = {"Content-Type": "application/fhir+json"}


class Running:
    """A server in a thread of this process."""

    def __init__(self, data_dir: Path, **settings: Any) -> None:
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listening.getsockname()[1]
        chosen = {"data_dir": data_dir, "auth": "off", "port": self.port, "synchronous": "NORMAL"} | settings
        self.app: Application = create_app(Settings(**chosen))
        config = uvicorn.Config(  # as `fhir-server serve` has it
            self.app,
            http=HttpProtocol,
            loop="uvloop",
            ws="none",
            access_log=False,
            log_config=None,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE,
        )
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.listening]}, daemon=True)

    def start(self) -> None:
        self.thread.start()
        deadline = time.monotonic() + 60
        while not self.server.started:
            assert self.thread.is_alive() and time.monotonic() < deadline, "the server did not start"
            time.sleep(0.01)
        index = self.app._ctx.index
        if isinstance(index, SqliteIndex):
            index._wait = 60.0  # instead of a second: a busy machine may stand still for longer

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join(60)
        self.listening.close()

    @property
    def root(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def serving(folder: Path, documents: Sequence[dict[str, Any]], **settings: Any) -> Iterator[httpx.Client]:
    """A server with these documents."""
    running = Running(folder, **settings)
    running.start()
    with httpx.Client(base_url=f"{running.root}/fhir/", timeout=60) as client:
        for document in documents:
            answer = client.put(f"{document['resourceType']}/{document['id']}", json=document)
            assert answer.status_code == 201, answer.text
        yield client
    running.stop()


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    one = Running(tmp_path_factory.mktemp("data"), max_body=2_000_000, max_query_length=8_192)
    one.start()
    yield one
    one.stop()


@pytest.fixture(scope="session")
def api(running: Running) -> Iterator[httpx.Client]:
    """A client whose relative URLs begin at the FHIR base."""
    with httpx.Client(base_url=f"{running.root}/fhir/", timeout=60) as client:
        yield client


@pytest.fixture(scope="session")
def base(running: Running) -> str:
    return f"{running.root}/fhir"


@pytest.fixture
def put(api: httpx.Client) -> Callable[[dict[str, Any]], httpx.Response]:
    """Store a resource under its own id."""

    def store(resource: dict[str, Any]) -> httpx.Response:
        answer = api.put(f"{resource['resourceType']}/{resource['id']}", content=json.dumps(resource), headers=FHIR)
        assert answer.status_code in (200, 201), answer.text
        return answer

    return store


def problem(answer: httpx.Response) -> str:
    """The text of an OperationOutcome's first issue; fails if the answer is none."""
    body = answer.json()
    assert body["resourceType"] == "OperationOutcome"
    assert body["issue"][0]["severity"] in ("error", "fatal")
    text: str = body["issue"][0]["details"]["text"]
    return text
