"""Files in a bucket of S3-compatible storage, through obstore (https://developmentseed.org/obstore)."""

import asyncio
import atexit
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import Any, Final, TypeVar

import obstore
from obstore.exceptions import BaseError, PreconditionError
from obstore.store import S3Store

from fhir_server.files.contract import ABANDONED, PIECE, FileMissing, FilesUnavailable, StoredFile, checked, checked_folder
from fhir_server.files.place import Place
from fhir_server.files.refusals import code_of, unavailable
from fhir_server.files.uploads import Uploads

PART: Final = 8 * 1024 * 1024
"""Bytes of a part of an upload. A file of up to so many is sent in one request, a larger one in parts, of which S3 takes 10,000."""

AT_ONCE: Final = 2
"""Parts of one upload that are under way together: with the one that is filled a writer takes 24 MB."""

BUFFER: Final = 1024 * 1024
"""Bytes that are gathered before obstore is called."""

RANGE: Final = 4 * 1024 * 1024
"""Bytes that are asked for at once: no request lasts as long as a slow reader takes for a whole file."""

_GIVING_UP = 10.0
"""Seconds that aborting an upload may take; what is left then, `tidy` finds."""

# A thread of obstore lets go of what it was handed just after it has answered; where the interpreter ends in that moment, Python 3.11
# aborts the process (11 of 30 that ended right after a write, none of those that waited for 20 ms).
atexit.register(time.sleep, 0.1)

_FAILURES = (BaseError, OSError)
Result = TypeVar("Result")


class Bucket:
    """See `Files`. Nothing is asked of the storage before the first use."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._store = place.at(place.endpoint)
        self._links = None if place.links is None else place.at(place.links or place.endpoint)

    @asynccontextmanager
    async def writing(self, name: str, content_type: str) -> AsyncIterator["BucketWriter"]:
        """See Files.writing."""
        writer = BucketWriter(self._store, checked(name), content_type)
        try:
            yield writer
            await writer.publish()
        except BaseException:
            await writer.abandon()
            raise

    async def size(self, name: str) -> int | None:
        """See Files.size."""
        try:
            return (await obstore.head_async(self._store, checked(name)))["size"]
        except FileNotFoundError:
            return None  # to this request a bucket that is not there gives the same answer
        except _FAILURES as problem:
            raise unavailable(problem) from None

    async def reading(self, name: str, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes, None]:
        """See Files.reading."""
        if end is not None and end <= start:
            if await self.size(name) is None:
                raise FileMissing(name)
            return
        version = None
        while end is None or start < end:
            found = await self._range(name, start, start + RANGE if end is None else min(start + RANGE, end), version)
            if found is None:
                return
            data, version, size = found
            end = size if end is None else min(end, size)
            start += len(data)
            for at in range(0, len(data), PIECE):
                yield bytes(data[at : at + PIECE])

    async def _range(self, name: str, start: int, end: int, version: str | None) -> tuple[memoryview, str | None, int] | None:
        """What there is from `start` to before `end`, the version that it is of, and the whole size; None where the file ends before it."""
        options: Any = {"range": (start, end)}
        if version:
            options["if_match"] = version
        try:
            answer = await obstore.get_async(self._store, checked(name), options=options)
            return memoryview(await answer.bytes_async()), answer.meta["e_tag"], answer.meta["size"]
        except PreconditionError:
            raise FilesUnavailable("The file was written anew while it was read; read it from its beginning") from None
        except _FAILURES as problem:
            code = code_of(problem)
            if code == "InvalidRange":
                return None
            if code in ("NoSuchKey", "404"):
                raise FileMissing(name) from None
            raise unavailable(problem) from None

    async def names(self, folder: str) -> list[StoredFile]:
        """See Files.names."""
        listing = obstore.list(self._store, checked_folder(folder), chunk_size=1_000)
        try:
            return sorted([StoredFile(one["path"], one["size"]) async for batch in listing for one in batch])
        except _FAILURES as problem:
            raise unavailable(problem) from None

    async def delete(self, folder: str) -> int:
        """See Files.delete."""
        folder = checked_folder(folder)
        paths = [name for name, _ in await self.names(folder)]
        if await self.size(folder) is not None:
            paths.append(folder)
        if paths:
            await _told(obstore.delete_async(self._store, paths))
        return len(paths)

    async def link(self, name: str, seconds: int) -> str | None:
        """See Files.link."""
        checked(name)
        if self._links is None:
            return None
        return await _told(obstore.sign_async(self._links, "GET", name, timedelta(seconds=seconds)))

    async def tidy(self, seconds: float = ABANDONED) -> int:
        """See Files.tidy. What is left behind are multipart uploads that were never completed: S3 keeps them, unseen and paid for."""
        try:
            return await Uploads(self._place, self._store).abort(seconds)
        except _FAILURES as problem:
            raise unavailable(problem) from None

    async def check(self) -> None:
        """See Files.check."""
        name, data = f"check-{secrets.token_hex(8)}", secrets.token_bytes(64)
        await _told(obstore.put_async(self._store, name, data))
        read = b""
        try:
            with suppress(FileMissing):
                read = b"".join([piece async for piece in self.reading(name)])
            await self.names("check")  # whoever may not list is told of what is missing that it is refused
        finally:
            await _told(obstore.delete_async(self._store, [name]))
        if read != data or await self.size(name) is not None:
            raise FilesUnavailable("The storage for the files of jobs does not give back what was written (FHIR_FILES_URL)")


class BucketWriter:
    """See `Writer`."""

    def __init__(self, store: S3Store, name: str, content_type: str) -> None:
        self._upload = obstore.open_writer_async(
            store, name, attributes={"Content-Type": content_type}, buffer_size=PART, max_concurrency=AT_ONCE
        )
        self._waiting: list[bytes] = []
        self._length = 0
        self._ended = False
        self.size = 0

    async def write(self, data: bytes) -> None:
        """See Writer.write."""
        self._waiting.append(data)
        self.size += len(data)
        self._length += len(data)
        if self._length >= BUFFER:
            await self._send()

    async def publish(self) -> None:
        """Complete the upload: only now there is a file. Raises FilesUnavailable."""
        await self._send()
        self._ended = True
        await _told(self._upload.close())

    async def abandon(self) -> None:
        """Abort the upload, unless it has ended."""
        if self._ended:
            return
        self._ended = True
        aborting = asyncio.ensure_future(self._upload.__aexit__(Exception, None, None))
        with suppress(*_FAILURES, TimeoutError):  # `tidy` will find it
            await asyncio.wait_for(asyncio.shield(aborting), _GIVING_UP)

    async def _send(self) -> None:
        waiting, self._waiting, self._length = b"".join(self._waiting), [], 0
        if waiting:
            await _told(self._upload.write(waiting))


async def _told(asked: Awaitable[Result]) -> Result:
    """The answer of the storage. Raises FilesUnavailable."""
    try:
        return await asked
    except _FAILURES as problem:
        raise unavailable(problem) from None
