"""Whatever fails while a file is written: nothing of it is published, a person is told why, and what is left behind is removed."""

import asyncio
import dataclasses
import json
import logging
import os
import resource
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from files import writing
from files.storage import SECRET, bucket_place
from robustness.disks import small_disk
from robustness.running import clean_environment
from services.running import own_server

from fhir_server.files import uploads
from fhir_server.files.bucket import PART, Bucket
from fhir_server.files.contract import FileMissing, Files, FilesUnavailable
from fhir_server.files.folder import DRAFTS, Folder
from fhir_server.files.place import Place

TYPE = "text/plain"
SIZE = 20_000_000
"""Of a file that is cut off: more than two parts."""


async def put(place: Files, name: str, size: int) -> None:
    """Write a file of so many bytes, a megabyte at a time."""
    async with place.writing(name, TYPE) as writer:
        for _ in range(size // 1_000_000):
            await writer.write(b"x" * 1_000_000)


@contextmanager
def killed(kind: str, where: str) -> Iterator[None]:
    """What is written by a process that is killed (SIGKILL) in the middle of the file `a/cut-off`."""
    command = [sys.executable, writing.__file__, kind, where, "a/cut-off", str(SIZE)]
    with subprocess.Popen(command, env=clean_environment(), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "written\n"
        process.send_signal(signal.SIGKILL)
        assert process.wait(10) == -signal.SIGKILL
    yield


@pytest.fixture(params=["folder", "bucket"])
def cut_off(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Files, Files]:
    """A place where a writer was killed, and one beside it where nothing happened."""
    if request.param == "folder":
        with killed("folder", str(tmp_path / "files")):
            return Folder(tmp_path / "files"), Folder(tmp_path / "beside")
    place = bucket_place()
    with killed("bucket", json.dumps(dataclasses.asdict(place))):
        return Bucket(place), Bucket(dataclasses.replace(place, prefix=place.prefix + "x"))


def test_a_writer_that_is_killed_publishes_nothing(cut_off: tuple[Files, Files]) -> None:
    """After kill -9 in mid-file there is no such file; its remains are removed once they are old enough, and only here."""
    place, beside = cut_off

    async def run() -> None:
        assert await place.size("a/cut-off") is None
        assert await place.names("a") == []
        with pytest.raises(FileMissing):
            await anext(place.reading("a/cut-off"))
        assert await place.tidy() == 0, "it might still be written"
        assert await beside.tidy(0) == 0
        assert await place.tidy(0) == 1
        assert await place.tidy(0) == 0
        await put(place, "a/cut-off", SIZE)
        assert await place.size("a/cut-off") == SIZE

    asyncio.run(run())


def test_leftovers_in_many_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unfinished uploads are found however many answers of the storage they take."""
    monkeypatch.setattr(uploads, "PAGE", 2)
    place = bucket_place()

    async def run() -> None:
        import obstore

        for number in range(5):
            left = obstore.open_writer_async(place.at(place.endpoint), f"a/{number}", buffer_size=1_000)
            await left.write(b"x" * 5_000)
        assert await Bucket(place).tidy(0) == 5
        assert await Bucket(place).tidy(0) == 0

    asyncio.run(run())


def test_a_full_disk(tmp_path: Path) -> None:
    """507 is what becomes of a full disk: nothing is published, nothing left, and once there is room writing goes on."""
    with small_disk(tmp_path / "disk", 8_000_000) as disk:
        place = Folder(disk / "files")

        async def run() -> None:
            await put(place, "a/first", 3_000_000)
            with pytest.raises(FilesUnavailable, match="full") as told:
                await put(place, "a/second", 9_000_000)
            assert told.value.full
            assert [name for name, _ in await place.names("a")] == ["a/first"]
            assert list((disk / "files" / DRAFTS).iterdir()) == []
            await put(place, "a/second", 4_000_000)
            assert await place.delete("a") == 2

        asyncio.run(run())


def test_a_file_that_may_not_grow(tmp_path: Path) -> None:
    """A limit of the process on the size of files is told as a full disk is."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    place = Folder(tmp_path / "files")
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, limits[1]))
    try:
        with pytest.raises(FilesUnavailable) as told:
            asyncio.run(put(place, "a/file", 5_000_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert told.value.full
    assert asyncio.run(place.names("a")) == []


def test_full_storage(tmp_path: Path) -> None:
    """S3 storage whose disk is full: nothing is published, and what was sent of it makes room again."""
    with small_disk(tmp_path / "disk", 40_000_000) as disk, own_server("versitygw", disk) as server:
        place = Bucket(bucket_place(server.url))

        async def run() -> None:
            await put(place, "a/first", 3_000_000)
            for size in (60_000_000, 60_000_000):
                with pytest.raises(FilesUnavailable, match="full, or its quota") as told:
                    await put(place, "a/second", size)
                assert told.value.full
            assert [name for name, _ in await place.names("a")] == ["a/first"]
            await put(place, "a/second", 12_000_000)

        asyncio.run(run())


def test_storage_that_is_killed(tmp_path: Path) -> None:
    """Where the S3 server dies in mid-upload the writer is told, nothing is published, and all goes on once it is back."""
    with own_server("versitygw", tmp_path) as server:
        place = Bucket(bucket_place(server.url))

        async def run() -> None:
            await put(place, "a/first", 1_000_000)
            with pytest.raises(FilesUnavailable, match="cannot be reached") as told:
                async with place.writing("a/second", TYPE) as writer:
                    await writer.write(b"x" * (3 * PART))
                    await asyncio.to_thread(server.kill)
                    for _ in range(6):
                        await writer.write(b"x" * PART)
            assert not told.value.full
            for use in (place.size("a/first"), place.names("a"), place.delete("a"), place.check(), place.tidy(0)):
                with pytest.raises(FilesUnavailable, match="cannot be reached"):
                    await use
            await asyncio.to_thread(server.start)
            assert [name for name, _ in await place.names("a")] == ["a/first"]
            assert await place.tidy(0) == 1
            await put(place, "a/second", SIZE)
            await place.check()

        asyncio.run(run())


STRANGE = "nobody-knows-me"
REFUSED: list[tuple[dict[str, object], str]] = [
    ({"secret_key": STRANGE}, "the access key is wrong"),
    ({"access_key": STRANGE}, "the access key is wrong"),
    ({"access_key": "stranger", "secret_key": "stranger-secret-key"}, "access to the bucket is refused"),
    ({"bucket": "no-such-bucket"}, "there is no such bucket"),
    ({"region": "eu-north-9"}, "the bucket is in another region"),
    ({"endpoint": "http://127.0.0.1:1"}, "it cannot be reached"),
    ({"plain_http": False}, "it cannot be reached"),
    ({"access_key": "", "secret_key": ""}, "no credentials were found"),
]


@pytest.mark.parametrize("use", ["write", "read", "list", "delete", "tidy", "check"])
@pytest.mark.parametrize(("changed", "says"), REFUSED, ids=lambda value: str(value)[:40])
def test_storage_that_refuses(
    use: str, changed: dict[str, object], says: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A wrong key, a bucket that is not there or not ours, no server, no credentials: each is said in a sentence, without keys, hosts."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", "http://127.0.0.1:1")  # where a machine of Amazon's would be asked for its role
    place = Bucket(dataclasses.replace(bucket_place(), **changed))  # type: ignore[arg-type]
    uses: dict[str, Callable[[], object]] = {
        "write": lambda: put(place, "a/file", SIZE),
        "read": lambda: anext(place.reading("a/file")),
        "list": lambda: place.names("a"),
        "delete": lambda: place.delete("a"),
        "tidy": lambda: place.tidy(0),
        "check": place.check,
    }

    async def run() -> None:
        with pytest.raises(FilesUnavailable) as told:
            await uses[use]()  # type: ignore[misc]
        assert says in str(told.value)
        assert "127.0.0.1" not in str(told.value)
        assert not told.value.full

    with caplog.at_level(logging.DEBUG):
        asyncio.run(run())
    for text in (str(caplog.text),):
        assert says in text
        assert not any(word in text for word in (SECRET, STRANGE, "stranger", "Signature=", "127.0.0.1:"))


def test_a_folder_that_cannot_be_used(tmp_path: Path) -> None:
    """Where the folder, or one above it, is a file: each use says so."""
    (tmp_path / "file").write_text("")
    for root in (tmp_path / "file", tmp_path / "file" / "below"):
        place = Folder(root)
        for use in (put(place, "a", 1), place.check()):
            with pytest.raises(FilesUnavailable, match=r"FHIR_FILES_URL\) cannot be used: (Not a directory|File exists)"):
                asyncio.run(use)


def test_others_may_not_look(tmp_path: Path) -> None:
    """Files are readable for the server's user only, folders too."""
    before = os.umask(0)
    try:
        asyncio.run(put(Folder(tmp_path / "new" / "files"), "a/b/file", 1_000_000))
    finally:
        os.umask(before)
    found = {path.relative_to(tmp_path): stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "new").rglob("*")}
    assert {mode for path, mode in found.items() if path.name == "file"} == {0o600}
    assert {mode for path, mode in found.items() if path.name != "file"} == {0o700}


def test_nobody_waits_for_a_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a slow disk writes, flushes and reads, the event loop goes on."""
    place, ticks, going, used = Folder(tmp_path / "files"), [0], True, set[str]()

    def slowly(work: Callable[..., object]) -> Callable[..., object]:
        def slow(*arguments: object) -> object:
            begun, deadline = ticks[0], time.monotonic() + 30
            while going and ticks[0] < begun + 5:
                assert time.monotonic() < deadline, "the event loop waits for the disk"
                time.sleep(0.005)
            used.add(work.__name__)
            return work(*arguments)

        return slow

    for name in ("write", "fsync", "pread", "scandir"):
        monkeypatch.setattr(os, name, slowly(getattr(os, name)))

    async def tick() -> None:
        while True:
            await asyncio.sleep(0.01)
            ticks[0] += 1

    async def run() -> None:
        nonlocal going
        ticking = asyncio.create_task(tick())
        await put(place, "a/file", 1_000_000)
        async for _ in place.reading("a/file", 0, 1000):
            pass
        await place.names("a")
        await place.delete("a")
        going = False
        ticking.cancel()

    asyncio.run(run())
    assert used == {"write", "fsync", "pread", "scandir"}


ENDING = """
import asyncio, json, sys
from fhir_server.files.bucket import Bucket
from fhir_server.files.place import Place
asyncio.run(Bucket(Place(**json.loads(sys.argv[1]))).check())
"""


def test_a_process_ends_in_order() -> None:
    """A process that ends right after it has used the storage ends with exit code 0."""
    command = [sys.executable, "-c", ENDING, json.dumps(dataclasses.asdict(bucket_place()))]
    running = [subprocess.Popen(command, env=clean_environment(), stderr=subprocess.PIPE) for _ in range(6)]
    assert [(process.communicate()[1], process.returncode) for process in running] == [(b"", 0)] * 6


def test_a_place_shows_no_secret() -> None:
    """What might get into a log names no secret."""
    place = Place("files", access_key="me", secret_key=SECRET)
    assert SECRET not in repr(place) + repr(place.at(""))
