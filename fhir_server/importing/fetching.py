"""An input as lines, as they come over the network: bounded in every direction, and gone on with where it was cut off."""

import asyncio
import ssl
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import NamedTuple
from urllib.parse import SplitResult

import httpx

from fhir_server.files.contract import Files
from fhir_server.importing import pace
from fhir_server.importing.pace import LEAST, CutOff, Pace
from fhir_server.importing.sources import Sources, is_placed, port_of
from fhir_server.importing.unpacking import Spoilt, packing_of, unpacker
from fhir_server.jobs.job import Problem
from fhir_server.jobs.work import Failed
from smart_auth.client_keys.jwks_uri import Resolver, resolve

SILENCE = 30.0
"""Seconds between two bytes, at most."""

_START = 4
"""Bytes by which it can be told how a file is packed."""

_BREATH = 500
"""Lines after which others have their turn: of what is packed millions may come at once."""

_MARK = b"\xef\xbb\xbf"

_AGAIN = (408, 425, 429, 500, 502, 503, 504)


class Line(NamedTuple):
    """A line: its number from 1 on, its bytes without the end of line, and where the next one begins, in bytes, unpacked."""

    number: int
    body: bytes
    next: int


class Unreadable(Failed):
    """Something is wrong with an input; others may be read all the same."""


class Probed(NamedTuple):
    """What is known of an input before it is read: its size in bytes as it lies there (0: unknown), whether it is packed, and its ETag if
    it can be had in ranges ("": it cannot)."""

    size: int
    packed: bool
    tag: str


UNKNOWN = Probed(0, False, "")


@dataclass(slots=True)
class Fetching:
    """The lines of an input behind line `number`, which begin at byte `offset`. `tag` is its ETag as it was begun with, or what
    else tells whether it has changed ("": nothing does).

    Of a range (`start` up to `end`; 0: to the end of the input) these are the lines that begin in it. `files` is where inputs lie whose
    URL begins with `files:`."""

    url: str
    sources: Sources
    longest: int
    most: int
    number: int = 0
    offset: int = 0
    tag: str = ""
    packed: bool = False
    start: int = 0
    end: int = 0
    pace: Pace = field(default_factory=Pace)
    files: Files | None = None
    resolver: Resolver = resolve

    async def lines(self) -> AsyncGenerator[Line, None]:
        """All lines, in order, also those that are empty. Raises Failed where they cannot be had."""
        tried = 0
        while True:
            began = self.number
            try:
                async with aclosing(self._attempt()) as found:
                    async for line in found:
                        self.number, self.offset = line.number, line.next
                        yield line
                return
            except (CutOff, OSError, httpx.HTTPError) as problem:
                self._gave(0)
                tried = (0 if self.number > began else tried) + pace.counted(problem)
                if tried >= pace.ATTEMPTS:
                    where = f"was cut off behind line {self.number}" if self.number else "cannot be read"
                    raise self.failed(502, "incomplete", f"{where}: {pace.why(problem)}") from None
                await asyncio.sleep(pace.pause(problem, tried))
            except (ValueError, httpx.InvalidURL) as problem:
                raise self.failed(403, "security", str(problem)) from None

    def _gave(self, size: int) -> None:
        self.pace.gave(size)
        if self.pace.too_slow():
            raise self.failed(504, "timeout", f"gives less than {LEAST} bytes a second; behind line {self.number} it was given up")

    @property
    def name(self) -> str:
        """What it is called where people read it: without its query, which may hold a signature."""
        plain = self.url.partition("?")[0]
        return f"{plain} (from byte {self.start} on)" if self.start else plain

    def failed(self, status: int, code: str, text: str) -> "Unreadable":
        """Why the input cannot be imported."""
        return Unreadable(Problem(status, code, f"{self.name} {text}"))

    async def probe(self) -> Probed:
        """What its first bytes and its headers tell; UNKNOWN where they tell nothing, which whoever reads it will find out."""
        if is_placed(self.url):
            return await self._probed()
        try:
            async with self._asked("bytes=0-3") as answer:
                start = b""
                async for piece in answer.aiter_raw():
                    start += piece
                    if len(start) >= _START:
                        break
        except (OSError, ValueError, httpx.HTTPError, httpx.InvalidURL):
            return UNKNOWN
        tag, packed = answer.headers.get("etag", ""), packing_of(start) != "" or _encoded(answer)
        size = answer.headers.get("content-range", "").rpartition("/")[2]
        if answer.status_code != 206 or not size.isdecimal() or len(size) > 15:
            size = answer.headers.get("content-length", "")
            known = answer.status_code == 200 and size.isdecimal() and len(size) <= 15
            return Probed(int(size) if known else 0, packed, "")
        return Probed(int(size), packed, "" if packed or tag.startswith("W/") else tag)

    async def _probed(self) -> Probed:
        name, size = self._placed(), await self._size()
        if size is None or self.files is None:
            return UNKNOWN
        async with aclosing(self.files.reading(name, 0, _START)) as pieces:
            start = b"".join([piece async for piece in pieces])
        return Probed(size, packing_of(start) != "", "" if packing_of(start) else _tag(size))

    def _placed(self) -> str:
        """The name of a file in the place of files."""
        return self.sources.check(self.url).path.removeprefix("/")

    async def _size(self) -> int | None:
        return await self.files.size(self._placed()) if self.files is not None else None

    @asynccontextmanager
    async def _asked(self, range: str) -> AsyncIterator[httpx.Response]:
        """The answer to a request for a range of bytes ("": all)."""
        parts = self.sources.check(self.url)
        address = await self.sources.address(parts, self.resolver)
        url = httpx.URL(self.url).copy_with(host=address)
        timeout = httpx.Timeout(SILENCE)
        verify = _certificates(self.sources.authority)
        async with (
            httpx.AsyncClient(verify=verify, follow_redirects=False, trust_env=False, timeout=timeout) as client,
            client.stream(
                "GET", url, headers=_headers(parts, range, self.tag), extensions={"sni_hostname": parts.hostname or ""}
            ) as answer,
        ):
            yield answer

    def _from(self) -> int:
        """The byte from which on it is to be had: one before a range, to see whether a line begins with it."""
        if self.packed:
            return 0
        return self.offset or max(self.start - 1, 0)

    async def _read(self) -> AsyncGenerator[Line, None]:
        """The lines of a file in the place of files."""
        size, wanted = await self._size(), self._from()
        if size is None or self.files is None:
            raise self.failed(502, "not-found", "is not in the place of files")
        if self.tag not in ("", _tag(size)):
            raise self.failed(409, "conflict", f"has changed since line {self.number} was read")
        self.tag = _tag(size)
        if wanted >= size:
            return
        async with (
            aclosing(self.files.reading(self._placed(), wanted)) as raw,
            aclosing(self._unpacked(raw, wanted == 0)) as pieces,
            aclosing(self._split(pieces, wanted)) as lines,
        ):
            async for line in lines:
                yield line

    async def _attempt(self) -> AsyncGenerator[Line, None]:
        self.pace.waits()
        if is_placed(self.url):
            async with aclosing(self._read()) as found:
                async for line in found:
                    yield line
            return
        wanted = self._from()
        async with self._asked(f"bytes={wanted}-" if wanted else "") as answer:
            if answer.status_code == 416 and answer.headers.get("content-range") == f"bytes */{wanted}":
                return  # the last line was put down, and what came after it was not: there is no more
            begins = self._begun(answer, wanted)
            raw = self._unpacked(answer.aiter_raw(), answer.status_code == 200, encoded=_encoded(answer))
            async with aclosing(raw) as pieces, aclosing(self._split(pieces, begins)) as lines:
                async for line in lines:
                    yield line

    def _begun(self, answer: httpx.Response, wanted: int) -> int:
        """The byte at which the answer begins. Raises Failed, CutOff."""
        status = answer.status_code
        if status in _AGAIN:
            raise CutOff(f"it answers {status}", answer.headers.get("retry-after", ""))
        if 300 <= status < 400:
            raise self.failed(502, "security", f"answers {status}: redirects are not followed")
        if status not in (200, 206):
            raise self.failed(502, "not-found" if status in (404, 410) else "exception", f"answers {status}")
        tag = _state(answer)
        if self.tag and tag != self.tag:
            raise self.failed(409, "conflict", f"has changed since line {self.number} was read")
        self.tag = tag
        if status == 200:
            return 0
        if not answer.headers.get("content-range", "").startswith(f"bytes {wanted}-"):
            raise self.failed(502, "exception", "answers another range than was asked for")
        return wanted

    async def _unpacked(self, raw: AsyncIterator[bytes], first: bool, *, encoded: bool = False) -> AsyncGenerator[bytes, None]:
        """The content in pieces, unpacked whether a header says so (`encoded`) or the file is packed itself. `first`: these begin with its
        first byte."""
        stream = unpacker("")
        async for piece in _after(raw, _START if first else 0):
            self._gave(len(piece))
            if first:
                packing = packing_of(piece) or ("gzip" if encoded else "")
                self.packed, stream, first = packing != "", unpacker(packing), False
            try:
                for out in stream.give(piece):
                    yield out
            except Spoilt:
                raise self.failed(422, "invalid", "is not packed as it says it is") from None
            self.pace.waits()
        if not stream.whole:
            raise CutOff("what is packed ends early")

    async def _split(self, pieces: AsyncIterator[bytes], place: int) -> AsyncGenerator[Line, None]:
        """Lines behind the one that was read last, of pieces that begin at byte `place`. Bytes up to there are passed over."""
        number, waiting, aligned = self.number, bytearray(), self.offset > 0 or self.start == 0
        offset = self.offset or max(self.start - 1, 0)
        async for piece in pieces:
            if place + len(piece) <= offset and not waiting:
                place += len(piece)
                continue
            skipped = max(offset - place, 0)
            place += skipped
            rest = piece[skipped:]
            if not aligned:  # in the middle of a line that begins before the range
                before, found, rest = rest.partition(b"\n")
                place += len(before) + len(found)
                if self.end and place >= self.end:
                    return
                if not found:
                    continue
                aligned = True
            *whole, rest = rest.split(b"\n")
            for part in whole:
                if self.end and place >= self.end:
                    return
                body = bytes(waiting) + part
                waiting.clear()
                number, place = number + 1, place + len(body) + 1
                if number % _BREATH == 0:
                    await asyncio.sleep(0)
                self._check(number, len(body), place)
                yield Line(number, self._plain(number, body), place)
            waiting += rest
            self._check(number + 1, len(waiting), place + len(waiting))
        if waiting and not (self.end and place >= self.end):
            yield Line(number + 1, self._plain(number + 1, bytes(waiting)), place + len(waiting))

    def _plain(self, number: int, body: bytes) -> bytes:
        """A line without what stands around it; a file may begin with a byte order mark."""
        return (body.removeprefix(_MARK) if number == 1 and self.start == 0 else body).strip()

    def _check(self, number: int, length: int, place: int) -> None:
        if length > self.longest:
            raise self.failed(413, "too-long", f"has more than {self.longest} bytes in line {number} (FHIR_MAX_BODY)")
        if place > self.most:
            raise self.failed(413, "too-long", f"has more than {self.most} bytes (FHIR_IMPORT_MAX_SIZE)")


async def _after(pieces: AsyncIterator[bytes], least: int) -> AsyncIterator[bytes]:
    """The same pieces, the first of so many bytes at least, where there are so many."""
    start = b""
    async for piece in pieces:
        start += piece
        if len(start) >= least:
            yield start
            start, least = b"", 0
    if start:
        yield start


def _tag(size: int) -> str:
    """What tells that a file in the place of files is still the same, as far as that can be told."""
    return f"{size} bytes"


def _encoded(answer: httpx.Response) -> bool:
    return answer.headers.get("content-encoding") in ("gzip", "x-gzip")


def _state(answer: httpx.Response) -> str:
    """By what it is seen whether a file has changed between two answers: its ETag, if that is a strong one, or else when it was changed and
    how long it is, as far as that is told."""
    tag: str = answer.headers.get("etag", "")
    if tag and not tag.startswith("W/"):
        return tag
    size = answer.headers.get("content-range", "").rpartition("/")[2] or answer.headers.get("content-length", "")
    changed = answer.headers.get("last-modified", "")
    return f"{changed}, {size} bytes" if changed or size.isdecimal() else ""


def _headers(parts: SplitResult, range: str, tag: str) -> dict[str, str]:
    standard = port_of(parts) == (443 if parts.scheme == "https" else 80)
    name = parts.netloc.rpartition(":")[0] if standard and parts.port is not None else parts.netloc
    headers = {"Host": name, "Accept": "application/fhir+ndjson, */*;q=0.1", "Accept-Encoding": "identity"}
    if range:
        headers["Range"] = range
        if tag.startswith('"'):
            headers["If-Range"] = tag
    return headers


@cache
def _certificates(authority: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if authority is not None:
        context.load_verify_locations(authority)
    return context
