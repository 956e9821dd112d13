"""What every place for files promises, on all of them."""

import asyncio
from contextlib import aclosing
from pathlib import Path

import pytest
from files.storage import bucket_place

from fhir_server.files.bucket import Bucket
from fhir_server.files.contract import PIECE, FileMissing, Files, FilesUnavailable, StoredFile, checked
from fhir_server.files.folder import Folder

BIG = bytes(range(256)) * 4096 * 25
"""More than any buffer or part on the way: 26 MB."""
TYPE = "application/fhir+ndjson"


@pytest.fixture(params=["folder", "bucket"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Files:
    """An empty place of each kind: a folder, and a prefix of a bucket of a real S3 server."""
    return Folder(tmp_path / "files") if request.param == "folder" else Bucket(bucket_place())


async def put(place: Files, name: str, *data: bytes) -> None:
    """Write a file."""
    async with place.writing(name, TYPE) as writer:
        for one in data:
            await writer.write(one)
    assert writer.size == sum(map(len, data))


async def whole(place: Files, name: str, start: int = 0, end: int | None = None) -> bytes:
    """What is read of a file."""
    async with aclosing(place.reading(name, start, end)) as pieces:
        found = [piece async for piece in pieces]
    assert all(0 < len(piece) <= PIECE for piece in found)
    return b"".join(found)


@pytest.mark.parametrize(
    "data",
    [(), (b"",), (b"{}\n",), (b"a" * PIECE,), (BIG[:1000],) * 3000, (BIG,)],
    ids=["nothing", "empty", "a line", "a piece", "3,000 writes", "26 MB at once"],
)
def test_what_was_written_is_read(place: Files, data: tuple[bytes, ...]) -> None:
    """A file of any size is read as it was written, and its size is known."""

    async def run() -> None:
        await put(place, "exports/1/Patient.000.ndjson", *data)
        expected = b"".join(data)
        assert await place.size("exports/1/Patient.000.ndjson") == len(expected)
        assert await whole(place, "exports/1/Patient.000.ndjson") == expected

    asyncio.run(run())


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (0, 1),
        (5, 5),
        (7, 3),
        (1, None),
        (PIECE - 1, PIECE + 1),
        (PIECE, None),
        (0, 10**9),
        (600_000, None),
        (600_001, 600_002),
        (599_999, None),
    ],
)
def test_a_range_is_read(place: Files, start: int, end: int | None) -> None:
    """From `start` to before `end`, as far as the file has it; nothing where it has none of it."""

    async def run() -> None:
        data = BIG[:600_000]
        await put(place, "a/file", data)
        assert await whole(place, "a/file", start, end) == data[start:end]

    asyncio.run(run())


def test_what_is_missing(place: Files) -> None:
    """There is no size, no bytes and nothing to delete where there is no file; a folder is no file."""

    async def run() -> None:
        await put(place, "a/b/file", b"1")
        for name in ("nothing", "a/nothing", "a", "a/b", "a/b/file/below"):
            assert await place.size(name) is None
            with pytest.raises(FileMissing):
                await whole(place, name)
        for name in ("nothing", "a/nothing", "a/b/file/below"):
            assert await place.names(name) == []
            assert await place.delete(name) == 0
        assert await place.size("a/b/file") == 1

    asyncio.run(run())


def test_names_and_deletion(place: Files) -> None:
    """Files below a folder are listed in order and deleted together; what only begins alike is not among them."""

    async def run() -> None:
        for name in ("e/1/b", "e/1/a", "e/1/part/c", "e/10/a", "e/1x", "f"):
            await put(place, name, name.encode())
        assert await place.names("e/1") == [StoredFile("e/1/a", 5), StoredFile("e/1/b", 5), StoredFile("e/1/part/c", 10)]
        assert len(await place.names("e/1/")) == 3
        assert await place.delete("e/1/") == 3
        assert await place.names("e/1") == []
        assert await place.delete("e/1") == 0
        assert [name for name, _ in await place.names("e")] == ["e/10/a", "e/1x"]
        assert await place.delete("e/1x") == 1
        assert await place.size("e/10/a") == 6
        assert await place.size("f") == 1

    asyncio.run(run())


def test_many_files(place: Files) -> None:
    """More files than come in one answer of a store are all listed and all deleted."""

    count = 1_100 if isinstance(place, Bucket) else 60  # S3 lists a thousand at a time
    expected = [f"many/{number:04}" for number in range(count)]

    async def run() -> None:
        for start in range(0, count, 20):
            await asyncio.gather(*(put(place, name, b"x") for name in expected[start : start + 20]))
        assert [name for name, _ in await place.names("many")] == expected
        assert await place.delete("many") == count
        assert await place.names("many") == []

    asyncio.run(run())


class _Stopped(Exception):
    pass


@pytest.mark.parametrize("size", [1_000, len(BIG)])
@pytest.mark.parametrize("before", [None, b"before"])
def test_a_block_that_raises_publishes_nothing(place: Files, size: int, before: bytes | None) -> None:
    """Where writing ends with an exception there is no file, or the one that was there before."""

    async def run() -> None:
        if before is not None:
            await put(place, "a/file", before)
        with pytest.raises(_Stopped):
            async with place.writing("a/file", TYPE) as writer:
                await writer.write(BIG[:size])
                raise _Stopped
        assert await place.size("a/file") == (None if before is None else len(before))
        assert len(await place.names("a")) == (before is not None)

    asyncio.run(run())


def test_a_cancelled_writer_publishes_nothing(place: Files) -> None:
    """Where the task that writes is cancelled, at any moment, there is no file or the whole one."""

    async def write() -> None:
        async with place.writing("a/file", TYPE) as writer:
            for at in range(0, len(BIG), 1 << 20):
                await writer.write(BIG[at : at + (1 << 20)])

    async def run() -> None:
        for wait in (0, 0.001, 0.01, 0.03, 0.1):
            task = asyncio.create_task(write())
            await asyncio.sleep(wait)
            task.cancel()
            await asyncio.wait([task])
            if await place.size("a/file") is not None:
                assert await whole(place, "a/file") == BIG
                await place.delete("a")

    asyncio.run(run())


def test_a_file_is_replaced_whole(place: Files) -> None:
    """A file that is written anew takes the place of the old one at the end; who reads the old one meanwhile reads that one, or is told."""
    old, new = BIG[:13_000_000], bytes(reversed(BIG[:13_000_000]))

    async def run() -> None:
        await put(place, "a/file", old)
        async with aclosing(place.reading("a/file")) as pieces:
            first = await anext(pieces)
            async with place.writing("a/file", TYPE) as writer:
                await writer.write(new)
                assert await whole(place, "a/file") == old
            assert await whole(place, "a/file") == new
            try:
                rest = [piece async for piece in pieces]
            except FilesUnavailable as told:
                assert "anew" in str(told)
            else:
                assert first + b"".join(rest) == old

    asyncio.run(run())


def test_two_writers_of_one_name(place: Files) -> None:
    """Two that write one name at the same time each write a whole file; the one that ends last stays."""

    async def run() -> None:
        async with place.writing("a/file", TYPE) as first:
            await first.write(b"1" * 10)
            async with place.writing("a/file", TYPE) as second:
                await second.write(b"2" * 20)
            assert await whole(place, "a/file") == b"2" * 20
        assert await whole(place, "a/file") == b"1" * 10
        assert await place.names("a") == [StoredFile("a/file", 10)]

    asyncio.run(run())


def test_many_at_the_same_time(place: Files) -> None:
    """Files are written, read, listed and deleted by many tasks at once."""

    async def one(number: int) -> None:
        name, data = f"at-once/{number}/file", bytes([number]) * 300_000
        for _ in range(3):
            await put(place, name, data)
            assert await whole(place, name) == data
            assert await place.delete(f"at-once/{number}") == 1

    async def run() -> None:
        # VersityGW refuses now and then what comes while the last one of a folder goes.
        await put(place, "at-once/kept", b"x")
        await asyncio.gather(*map(one, range(20)))
        assert await place.names("at-once") == [StoredFile("at-once/kept", 1)]

    asyncio.run(run())


def test_a_place_is_checked(place: Files) -> None:
    """A place that can be written, read and deleted in passes, and nothing of it is left."""

    async def run() -> None:
        await place.check()
        await put(place, "a/file", b"1")
        await place.check()
        assert await place.tidy(0) == 0
        assert await place.names("a") == [StoredFile("a/file", 1)]

    asyncio.run(run())


NAMES = (
    "", "/", "/etc/passwd", "..", "a/../b", "a/..", ".hidden", "a/.hidden", "a//b", "a//", "a b", "ä", "a\\b", "a\0b", "a\n", "a?b", "a%2e",
    "-a", "a" * 201, "/".join("abcdefghijk"),
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_what_is_no_name(place: Files, name: str) -> None:
    """What leads elsewhere, or is not of the safe alphabet, is refused everywhere."""

    async def run() -> None:
        for use in (place.size, place.names, place.delete, lambda name: place.link(name, 60), lambda name: whole(place, name)):
            with pytest.raises(ValueError, match="no name"):
                await use(name)
        with pytest.raises(ValueError, match="no name"):
            await put(place, name, b"1")

    asyncio.run(run())


@pytest.mark.parametrize(
    "name", ["a", "Patient.000.ndjson", "exports/0198-4f/part=3/a_b.parquet", "a" * 200, "/".join("abcdefghij")]
)
def test_what_is_a_name(name: str) -> None:
    """Letters, digits and `._=-`, in ten segments at most."""
    assert checked(name) == name
