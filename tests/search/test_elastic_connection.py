"""What Elasticsearch is sent around a request, and what becomes of answers that are none of its own. The server here only listens."""

import asyncio
from base64 import b64encode
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from resources.store import StoreUnavailable
from search.index import TooCostly
from search.indexes.elastic.connection import Connection, Denied, Refused, Server

BLOCKED = '{"error":{"type":"cluster_block_exception","root_cause":[{"type":"cluster_block_exception","reason":"a secret"}]}}'
ELASTIC = "X-Elastic-Product: Elasticsearch\r\n"


def asked(answer: str, test: Callable[[int], Awaitable[Any]]) -> list[str]:
    """The requests that a server gets which answers each with these bytes, while the test runs with its port."""
    heard: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = next((int(line.partition(":")[2]) for line in head.lower().splitlines() if line.startswith("content-length")), 0)
        heard.append(head + (await reader.readexactly(length)).decode())
        writer.write(answer.encode())
        await writer.drain()
        writer.close()

    async def within() -> None:
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            await test(server.sockets[0].getsockname()[1])

    asyncio.run(within())
    return heard


def response(status: str, body: str, more: str = ELASTIC) -> str:
    return f"HTTP/1.1 {status}\r\n{more}Content-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}"


async def call(url: str, api_key: str | None = None) -> bytes:
    connection = Connection(Server(url, api_key))
    connection.open()
    try:
        return await connection.call("POST", "/a/_search", b'{"size":1}', params={"filter_path": "took,hits"}, within=60.0)
    finally:
        await connection.close()


@pytest.mark.parametrize(
    ("user", "api_key", "expected"),
    [
        ("", None, None),
        ("", "abc==", "ApiKey abc=="),
        ("u%40x:p%3Aw@", None, f"Basic {b64encode(b'u@x:p:w').decode()}"),
        ("u:p@", "abc==", "ApiKey abc=="),
    ],
)
def test_a_request_says_who_asks(user: str, api_key: str | None, expected: str | None) -> None:
    """By API key, or by the user in the URL; the body and the parameters arrive as they are."""
    told = []

    async def test(port: int) -> None:
        told.append(await call(f"http://{user}127.0.0.1:{port}/below", api_key))

    [request] = asked(response("200 OK", '{"took":1}'), test)
    lines = {name.lower(): value for name, _, value in (line.partition(": ") for line in request.splitlines()[1:])}
    assert request.startswith("POST /below/a/_search?filter_path=took,hits HTTP/1.1")
    assert (lines.get("authorization"), request.rpartition("\r\n\r\n")[2], told) == (expected, '{"size":1}', [b'{"took":1}'])
    assert "compatible-with=9" in lines["accept"]


@pytest.mark.parametrize(
    ("answer", "expected", "text"),
    [
        (response("200 OK", "{}", ""), StoreUnavailable, "no Elasticsearch"),
        (response("503 Service Unavailable", "{}"), StoreUnavailable, "overloaded"),
        (response("429 Too Many Requests", "no JSON"), StoreUnavailable, "overloaded"),
        (response("503 Service Unavailable", BLOCKED), StoreUnavailable, "not ready"),
        (response("429 Too Many Requests", BLOCKED), Denied, "denies access (cluster_block_exception)"),
        (response("403 Forbidden", BLOCKED), Denied, "denies access (cluster_block_exception)"),
        (response("401 Unauthorized", '{"error":{"type":"security_exception"}}'), Denied, "denies access (security_exception)"),
        (
            response("400 Bad Request", '{"error":{"type":"a","root_cause":[{"type":"too_many_clauses"}]}}'),
            TooCostly,
            "alternatives",
        ),
        (response("400 Bad Request", '{"error":{"type":"parsing","reason":"a secret"}}'), Refused, "400 (parsing)"),
        (response("404 Not Found", '{"error":"missing"}'), Refused, "404 (missing)"),
    ],
)
def test_answers_that_are_no_success_become_the_errors_of_the_contract(answer: str, expected: type[Exception], text: str) -> None:
    """Only the kind of an error is kept: its words quote queries and documents."""

    async def test(port: int) -> None:
        with pytest.raises(expected) as failure:
            await call(f"http://127.0.0.1:{port}")
        assert type(failure.value) is expected and text in str(failure.value) and "secret" not in str(failure.value)

    assert asked(answer, test)
