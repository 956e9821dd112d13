"""An answer that is sent as it comes: files of exports, rows of views. Memory stays flat, whatever its length."""

import asyncio
import logging
import zlib
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Protocol

import zstandard
from isal import isal_zlib

from fhir_server.messages import FhirResult
from fhir_server.rest.errors import as_fhir_error
from fhir_server.rest.negotiation import best_encoding
from fhir_server.rest.responses import Send, headers_of
from fhir_server.rest.routing import Receive

_log = logging.getLogger("fhir_server.requests")

ASIDE = 65_536
"""Longer pieces are packed in a thread (both libraries let go of the interpreter), so that others are served meanwhile."""


class _Packer(Protocol):
    def compress(self, data: bytes) -> bytes: ...
    def flush(self) -> bytes: ...


async def send_stream(
    send: Send,
    receive: Receive,
    result: FhirResult,
    *,
    method: str,
    base: str,
    request_id: str,
    accept_encoding: str,
    interaction: str,
) -> None:
    """Send the pieces of `result.stream`, packed if the caller can unpack them. Whoever hangs up ends it: the rest is not even read.

    Where the stream fails in the middle, so does the answer: a body that merely ended there would look whole. The log tells why, with the
    request's id.
    """
    headers = headers_of(result, base, request_id)
    headers.append((b"content-type", result.content_type.encode()))
    coding = best_encoding(accept_encoding) if accept_encoding else ""
    if coding:
        headers = [pair for pair in headers if pair[0] != b"content-length"]
        headers.append((b"content-encoding", coding.encode()))
    assert result.stream is not None
    async with aclosing(result.stream) as pieces:
        await send({"type": "http.response.start", "status": result.status, "headers": headers})
        if method == "HEAD":
            await send({"type": "http.response.body", "body": b""})
            return
        try:
            await _send_pieces(send, receive, pieces, _packer(coding))
        except RuntimeError:  # the client has closed the connection
            raise
        except Exception as failure:  # to leave without the last piece closes the connection
            _broke_off(failure, interaction, request_id)


def _broke_off(failure: Exception, interaction: str, request_id: str) -> None:
    """Say so in the log: where, and not in which document, since logs name none."""
    refusal = as_fhir_error(failure, interaction, request_id)
    issue = refusal.issues[0]
    extra = {"interaction": interaction, "status": refusal.status, "code": issue.code, "request": request_id}
    _log.error("an answer broke off", extra=extra | ({"expression": issue.expression} if issue.expression else {}))


async def _send_pieces(send: Send, receive: Receive, pieces: AsyncIterator[bytes], packer: "_Packer | None") -> None:
    """Send them all, or those that are there until the caller hangs up: also while the next one is not found yet."""
    sending, gone = asyncio.create_task(_send_all(send, pieces, packer)), asyncio.create_task(_hung_up(receive))
    try:
        await asyncio.wait((sending, gone), return_when=asyncio.FIRST_COMPLETED)
    finally:
        sending.cancel()
        gone.cancel()
        await asyncio.wait((sending, gone))
    if not sending.cancelled():
        sending.result()


async def _send_all(send: Send, pieces: AsyncIterator[bytes], packer: "_Packer | None") -> None:
    async for piece in pieces:
        if out := await _packed(packer, piece):
            await send({"type": "http.response.body", "body": out, "more_body": True})
    await send({"type": "http.response.body", "body": packer.flush() if packer is not None else b""})


def _packer(coding: str) -> _Packer | None:
    if coding == "zstd":
        return zstandard.ZstdCompressor(level=3).compressobj()
    if coding == "gzip":
        packer: _Packer = isal_zlib.compressobj(1, isal_zlib.DEFLATED, zlib.MAX_WBITS | 16)
        return packer
    return None


async def _packed(packer: _Packer | None, piece: bytes) -> bytes:
    if packer is None or not piece:
        return piece
    return await asyncio.to_thread(packer.compress, piece) if len(piece) > ASIDE else packer.compress(piece)


async def _hung_up(receive: Receive) -> None:
    """Returns when the caller has closed the connection."""
    while (await receive())["type"] != "http.disconnect":
        pass
