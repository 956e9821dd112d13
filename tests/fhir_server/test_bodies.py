"""Reading request bodies: bounded in size and time"""

import asyncio
import gzip
from collections.abc import Iterable
from typing import Any

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from fhir_server.rest import bodies
from resources.outcomes import FhirError


def read(pieces: Iterable[bytes], headers: dict[str, str], limit: int = 1000, pause: float = 0.0) -> bytes:
    waiting = list(pieces)

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(pause)
        piece = waiting.pop(0)
        return {"type": "http.request", "body": piece, "more_body": bool(waiting)}

    return asyncio.run(bodies.read_body(receive, headers, limit))


def status(pieces: Iterable[bytes], headers: dict[str, str], limit: int = 1000, pause: float = 0.0) -> int:
    with pytest.raises(FhirError) as refused:
        read(pieces, headers, limit, pause)
    return refused.value.status


@settings(deadline=None)
@given(st.binary(max_size=900), st.sampled_from(["", "identity", "gzip", "x-gzip", "zstd"]), st.integers(1, 50))
def test_what_was_sent_arrives(body: bytes, coding: str, step: int) -> None:
    """Any body within the limit arrives whole, whatever its coding and its pieces."""
    packed = gzip.compress(body) if "gzip" in coding else zstandard.compress(body) if coding == "zstd" else body
    pieces = [packed[start : start + step] for start in range(0, len(packed), step)] or [b""]
    assert read(pieces, {"content-encoding": coding}, limit=2000) == body


def test_joined_gzip_members_are_one_body() -> None:
    """Several gzip members are one body (RFC 1952, 2.2), and the limit counts them together."""
    packed = gzip.compress(b"a" * 600) + gzip.compress(b"b" * 300)
    assert read([packed], {"content-encoding": "gzip"}) == b"a" * 600 + b"b" * 300
    assert status([packed], {"content-encoding": "gzip"}, limit=700) == 413


def test_stops_reading_at_the_limit() -> None:
    """Nothing is read beyond the piece that goes over the limit."""
    pieces = [b"x" * 600, b"x" * 600, b"never asked for"]
    assert status(pieces, {}) == 413


def test_too_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A body that comes too slowly is 408."""
    monkeypatch.setattr(bodies, "GRACE", 0.05)
    assert status([b"x"] * 20, {}, pause=0.02) == 408


def test_closed_in_the_middle() -> None:
    """A connection that closes before the body is complete is 400."""

    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    with pytest.raises(FhirError) as refused:
        asyncio.run(bodies.read_body(receive, {}, 10))
    assert refused.value.status == 400
