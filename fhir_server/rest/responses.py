"""FhirResult or FhirError -> status, headers and bytes on the wire."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import msgspec
import zstandard
from isal import igzip

from fhir_server.messages import FhirResult
from fhir_server.rest.conditional import etag, http_date
from fhir_server.rest.negotiation import FHIR_JSON, best_encoding
from resources.outcomes import FhirError, operation_outcome

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
"""ASGI: takes the next message of the answer."""

PACK_FROM = 1400
"""Shorter answers fit one network packet as they are."""

PACK_ASIDE = 500_000
"""Longer ones are packed in a thread (both libraries let go of the interpreter), so that others are served meanwhile."""

_CONTENT_TYPES = {FHIR_JSON: b"application/fhir+json; charset=utf-8"}
_VARY = (b"vary", b"accept, accept-encoding")
_EMPTY = frozenset((204, 304))

Headers = list[tuple[bytes, bytes]]


def of_error(failure: FhirError) -> FhirResult:
    """The answer that tells a caller of a failure: an OperationOutcome."""
    return FhirResult(failure.status, (operation_outcome(failure.issues),), headers=dict(failure.headers))


async def respond(send: Send, result: FhirResult, *, base: str, request_id: str, pretty: bool, accept_encoding: str) -> None:
    """Send the answer, packed if the caller can unpack it and it is worth it."""
    headers = headers_of(result, base, request_id)
    body = b""
    if result.status not in _EMPTY:
        body = await _content(result, headers, pretty, accept_encoding)
        headers.append((b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": result.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def headers_of(result: FhirResult, base: str, request_id: str) -> Headers:
    """The headers of an answer but for those that describe its body."""
    headers: Headers = [(b"x-request-id", request_id.encode("latin-1")), _VARY]
    if result.version is not None:
        headers.append((b"etag", etag(result.version).encode()))
    if result.instant is not None:
        headers.append((b"last-modified", http_date(result.instant // 1_000_000).encode()))
    if result.location is not None:
        headers.append((b"location", f"{base}/{result.location}".encode()))
    for name, value in result.headers.items():
        headers.append((name.lower().encode("latin-1"), value.encode("latin-1", "replace")))
    return headers


async def _content(result: FhirResult, headers: Headers, pretty: bool, accept_encoding: str) -> bytes:
    """The body as it goes out; adds the headers that describe it."""
    body = result.body[0] if len(result.body) == 1 else b"".join(result.body)
    if not body:
        return body
    headers.append((b"content-type", _CONTENT_TYPES.get(result.content_type) or result.content_type.encode()))
    if pretty and "json" in result.content_type:
        body = msgspec.json.format(body, indent=2)
    coding = best_encoding(accept_encoding) if accept_encoding and len(body) >= PACK_FROM else ""
    if not coding:
        return body
    headers.append((b"content-encoding", coding.encode()))
    return await asyncio.to_thread(_pack, body, coding) if len(body) >= PACK_ASIDE else _pack(body, coding)


def _pack(body: bytes, coding: str) -> bytes:
    # A compressor of its own for each answer: they cannot be shared between threads, and making one costs a microsecond.
    packed: bytes = zstandard.compress(body, level=3) if coding == "zstd" else igzip.compress(body, compresslevel=1, mtime=0)
    return packed
