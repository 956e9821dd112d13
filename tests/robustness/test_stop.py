"""SIGTERM: requests under way are finished, what was answered is on disk, the exit code is 0."""

import asyncio
import fcntl
import json
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
import pytest
from robustness.check import Checker
from robustness.load import Load, patient
from robustness.running import Server


@pytest.mark.parametrize("workers", [1, 2])
def test_sigterm_under_load(tmp_path: Path, workers: int) -> None:
    """Clients in full swing lose nothing: a request without an answer has not happened."""
    server, checker = Server(tmp_path / "data", "--workers", str(workers)), Checker(tmp_path / "data" / "fhir.db")

    async def drive() -> Load:
        limits = httpx.Limits(max_connections=16, max_keepalive_connections=16)
        async with httpx.AsyncClient(limits=limits, timeout=60) as http:
            load = Load(http, server.base, seed=1, clients=16)
            driving = asyncio.create_task(load.drive())
            for _ in range(6_000):
                if sum(1 for one in load.sent if one.status) > 200 or driving.done():
                    break
                await asyncio.sleep(0.01)
            server.terminate()
            await driving
        return load

    with server:
        load = asyncio.run(drive())
        assert server.wait() == 0, server.log()
    asyncio.run(checker.read())
    assert checker.problems(load.sent) == []
    assert sum(1 for one in load.sent if one.status) > 200
    assert [one for one in load.sent if not one.status and checker.happened(one)] == []


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Wait for it, a minute or more."""
    for _ in range(6_000):
        if await holds():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never was so")


async def is_at_work(http: httpx.AsyncClient, server: Server) -> bool:
    """Whether the server has begun with a request."""
    return "\nfhir_requests_running 1\n" in (await http.get(f"{server.url}/metrics")).text


async def lets_nobody_in(server: Server) -> bool:
    """Whether the server takes no new connections, since it is stopping."""
    with socket.socket() as new:
        return new.connect_ex(("127.0.0.1", server.port)) != 0


def test_sigterm_during_a_long_request(tmp_path: Path) -> None:
    """A transaction of 9,000 entries that is being worked on when SIGTERM comes is answered, and is there after the next start."""
    entries = [{"resource": patient(f"long-{n}"), "request": {"method": "POST", "url": "Patient"}} for n in range(9_000)]
    bundle = json.dumps({"resourceType": "Bundle", "type": "transaction", "entry": entries})
    server = Server(tmp_path / "data")

    async def send() -> httpx.Response:
        async with httpx.AsyncClient(timeout=60) as http:
            with (server.data_dir / "fhir.db.lock").open("r+") as lock:
                fcntl.flock(
                    lock, fcntl.LOCK_EX
                )  # as a process that is writing: however quick the server is, it is not done before this
                sending = asyncio.create_task(
                    http.post(server.base, content=bundle, headers={"content-type": "application/fhir+json"})
                )
                await until(lambda: is_at_work(http, server))
                server.terminate()
                await until(lambda: lets_nobody_in(server))
                assert not sending.done()
            return await sending

    with server:
        answer = asyncio.run(send())
        assert answer.status_code == 200
        assert server.wait() == 0
        server.start()
        assert httpx.get(f"{server.base}/Patient?_summary=count").json()["total"] == 9_000
        assert server.stop() == 0
