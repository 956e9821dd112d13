"""Reading request bodies: never more than allowed, packed or unpacked, and never for ever."""

import asyncio
import io
from base64 import b64encode
from collections.abc import Mapping, MutableMapping
from typing import Any, cast

import msgspec
import zstandard
from isal import isal_zlib

from fhir_server.rest.routing import Receive
from resources.outcomes import FhirError, bad_request, error

# The type is declared as an instance in the stubs of isal.
_Broken = cast(type[Exception], isal_zlib.error)

GRACE = 30.0
"""Seconds in which a body must arrive, and one more for every SLOWEST bytes of it."""

SLOWEST = 10_000


async def read_body(receive: Receive, headers: Mapping[str, str], limit: int) -> bytes:
    """The request's body, unpacked; at most `limit` bytes before and after unpacking.

    Raises FhirError: 413 as soon as it is too long, 415 for an unknown Content-Encoding, 408 if it comes too slowly, 400 if it
    ends early or cannot be unpacked.
    """
    announced = headers.get("content-length", "")
    if announced.isdigit() and int(announced) > limit:
        raise _too_long(limit)
    coding = headers.get("content-encoding", "").strip().lower()
    if coding not in _UNPACK:
        text = f"A body with Content-Encoding: {coding[:40]} cannot be read; possible: gzip, zstd, or none"
        raise error(415, "not-supported", text, **{"Accept-Encoding": "gzip, zstd"})
    body = await _receive_all(receive, limit)
    return _UNPACK[coding](body, limit) if body else body


async def _receive_all(receive: Receive, limit: int) -> bytes:
    pieces: list[bytes] = []
    size = 0
    loop = asyncio.get_running_loop()
    started = loop.time()
    more = True
    while more:
        message = await _next(receive, started + GRACE + size / SLOWEST)
        pieces.append(message.get("body", b""))
        size += len(pieces[-1])
        if size > limit:
            raise _too_long(limit)
        more = message.get("more_body", False)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


async def _next(receive: Receive, deadline: float) -> MutableMapping[str, Any]:
    try:
        async with asyncio.timeout_at(deadline):
            message = await receive()
    except TimeoutError:
        raise error(408, "timeout", "The body came too slowly", Connection="close") from None
    if message["type"] == "http.disconnect":
        raise bad_request("The connection was closed before the body was complete", code="incomplete")
    return message


def _too_long(limit: int) -> FhirError:
    text = f"The body is longer than {limit} bytes, the most that this server takes at once (FHIR_MAX_BODY); send it in parts"
    return error(413, "too-long", text)


def _plain(body: bytes, limit: int) -> bytes:
    return body


def _gunzip(body: bytes, limit: int) -> bytes:
    out = bytearray()
    try:
        while body:
            unpacker = isal_zlib.decompressobj(wbits=31)
            out += unpacker.decompress(body, max_length=limit + 1 - len(out))
            if len(out) > limit:
                raise _too_long(limit)
            if not unpacker.eof:
                raise bad_request("The gzip body ends early", code="incomplete")
            body = unpacker.unused_data
    except _Broken:
        raise bad_request("The body is not gzip, though Content-Encoding says so") from None
    return bytes(out)


def _unzstd(body: bytes, limit: int) -> bytes:
    unpacker = zstandard.ZstdDecompressor(max_window_size=2**27)
    try:
        with unpacker.stream_reader(io.BytesIO(body), read_across_frames=True) as reader:
            out: bytes = reader.read(limit + 1)
        announced = zstandard.frame_content_size(body)  # -1: the frame does not say
    except zstandard.ZstdError:
        raise bad_request("The body is not zstd, though Content-Encoding says so") from None
    if len(out) > limit:
        raise _too_long(limit)
    if len(out) < announced:
        raise bad_request("The zstd body ends early", code="incomplete")
    return out


_UNPACK = {"": _plain, "identity": _plain, "gzip": _gunzip, "x-gzip": _gunzip, "zstd": _unzstd}


SECURITY = "x-security-context"
"""The header with the reference that is Binary.securityContext (https://hl7.org/fhir/R4/binary.html#security)."""


def binary_of(headers: Mapping[str, str], id: str, body: bytes) -> bytes:
    """The Binary that holds `body`; `id` "" where it has none yet. What its headers say is checked as all documents are."""
    resource: dict[str, object] = {"resourceType": "Binary"}
    if id:
        resource["id"] = id
    resource["contentType"] = headers["content-type"].strip()
    if of := headers.get(SECURITY):
        resource["securityContext"] = {"reference": of}
    if body:
        resource["data"] = b64encode(body).decode()
    return msgspec.json.encode(resource)
