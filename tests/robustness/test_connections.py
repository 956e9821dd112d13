"""Many connections at once are served without an error."""

import asyncio
import resource
from pathlib import Path

from robustness.running import Server

CONNECTIONS = 300
REQUESTS = 5


async def client(port: int, all_open: asyncio.Barrier) -> list[int]:
    """Open a connection, wait until all are open, send requests one after the other on it; the statuses."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    await all_open.wait()
    statuses = [await ask(reader, writer) for _ in range(REQUESTS)]
    writer.close()
    return statuses


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> int:
    """Send a request on an open connection; the status of its answer, which is read to its end."""
    writer.write(b"GET /fhir/Patient/none HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    await reader.readexactly(int(length.split(b":")[1]))
    return int(head.split(b" ", 2)[1])


def test_many_connections(tmp_path: Path) -> None:
    """Each of 300 open connections gets all its answers."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, 4 * CONNECTIONS), hard), hard))

    async def drive(port: int) -> list[list[int]]:
        all_open = asyncio.Barrier(CONNECTIONS)
        return await asyncio.gather(*(client(port, all_open) for _ in range(CONNECTIONS)))

    with Server(tmp_path / "data") as server:
        assert asyncio.run(drive(server.port)) == [[404] * REQUESTS] * CONNECTIONS
        assert server.stop() == 0


def test_idle_connections(tmp_path: Path) -> None:
    """A connection on which nothing was asked for some seconds still takes a request, so that pools of clients and proxies lose none."""

    async def drive(port: int) -> list[int]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        statuses = [await ask(reader, writer)]
        await asyncio.sleep(7)
        statuses.append(await ask(reader, writer))
        writer.close()
        return statuses

    with Server(tmp_path / "data") as server:
        assert asyncio.run(drive(server.port)) == [404, 404]
        assert server.stop() == 0
