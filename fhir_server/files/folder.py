"""Files in a folder of this machine, or of one that several machines have mounted.

Not obstore's store of local files: that one flushes nothing to the disk, and its files are readable for everybody. Files are 0600,
folders 0700.
"""

import errno
import logging
import os
import shutil
import tempfile
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from fhir_server.files.contract import ABANDONED, PIECE, FileMissing, FilesUnavailable, StoredFile, checked, checked_folder
from fhir_server.files.threads import in_thread

BUFFER: Final = 1024 * 1024
"""Bytes that are gathered before they are handed to a thread."""

UNFLUSHED: Final = 4 * BUFFER
"""Bytes after which they go to the disk. File systems that keep a journal (ext4) flush with anybody's fsync what others have written, so
commits of a store on the same disk would wait for a whole file."""

DRAFTS: Final = ".drafts"
"""Folder of what is being written. No name begins with a dot, so it is in nobody's sight."""

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_log = logging.getLogger("fhir_server")
Result = TypeVar("Result")


class Folder:
    """See `Files`. The folder is made at the first write. Files are begun as long as so many bytes (`room`) are free on its disk."""

    def __init__(self, root: Path, room: int = 0) -> None:
        self._root, self._room = root, room

    @asynccontextmanager
    async def writing(self, name: str, content_type: str) -> AsyncIterator["FolderWriter"]:
        """See Files.writing. The content type is not kept."""
        target = self._path(name)
        writer = await _done(lambda: FolderWriter(self._draft()), FolderWriter.abandon)
        try:
            yield writer
            await _done(lambda: writer.publish(self._root, target))
        finally:
            await in_thread(writer.abandon)

    async def size(self, name: str) -> int | None:
        """See Files.size."""
        path = self._path(name)
        return await _done(lambda: _size(path))

    async def reading(self, name: str, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes, None]:
        """See Files.reading."""
        path = self._path(name)
        file = await _done(lambda: _opened(path, name), os.close)
        try:
            while end is None or start < end:
                wanted = PIECE if end is None else min(PIECE, end - start)
                piece = await _done(partial(os.pread, file, wanted, start))
                if not piece:
                    break
                start += len(piece)
                yield piece
        finally:
            os.close(file)

    async def names(self, folder: str) -> list[StoredFile]:
        """See Files.names."""
        folder = checked_folder(folder)
        path = self._path(folder)
        return await _done(lambda: sorted(_below(path, folder)))

    async def delete(self, folder: str) -> int:
        """See Files.delete."""
        path = self._path(checked_folder(folder))
        return await _done(lambda: _deleted(path))

    async def link(self, name: str, seconds: int) -> str | None:
        """None: files of a folder are read through this server."""
        self._path(name)
        return None

    async def tidy(self, seconds: float = ABANDONED) -> int:
        """See Files.tidy."""
        return await _done(lambda: _tidied(self._root / DRAFTS, time.time() - seconds))

    async def check(self) -> None:
        """See Files.check."""
        probe = self._root / DRAFTS

        def tried() -> None:
            self._draft_folder()
            with tempfile.TemporaryFile(dir=probe, buffering=0) as file:
                file.write(b"\n" * 4096)
                os.fsync(file.fileno())
            if not os.access(self._root, os.R_OK | os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

        await _done(tried)

    def _path(self, name: str) -> Path:
        return self._root / checked(name)

    def _draft_folder(self) -> Path:
        folder = self._root / DRAFTS
        _make(folder, self._root)
        return folder

    def _draft(self) -> tuple[int, Path]:
        folder = self._draft_folder()
        if self._room and shutil.disk_usage(folder).free < self._room:
            raise OSError(errno.ENOSPC, f"less than {self._room} bytes are free (FHIR_FILES_ROOM)")
        descriptor, path = tempfile.mkstemp(dir=folder)  # 0600
        return descriptor, Path(path)


class FolderWriter:
    """See `Writer`."""

    def __init__(self, draft: tuple[int, Path]) -> None:
        self._file, self._path = draft
        self._open, self._published = True, False
        self._waiting: list[bytes] = []
        self._length = self._unflushed = 0
        self.size = 0

    async def write(self, data: bytes) -> None:
        """See Writer.write."""
        self._waiting.append(data)
        self.size += len(data)
        self._length += len(data)
        if self._length >= BUFFER:
            await _done(self._flush)

    def publish(self, root: Path, target: Path) -> None:
        """Make it the file `target`, for good. Raises OSError."""
        self._flush()
        os.fsync(self._file)
        self._close()
        made = _moved(self._path, target, root)
        self._published = True
        for folder in made:
            _flush_folder(folder)

    def abandon(self) -> None:
        """Let go of what was written, unless it was published."""
        with suppress(OSError):  # `tidy` will find it
            self._close()
            if not self._published:
                self._path.unlink()

    def _flush(self) -> None:
        waiting, self._waiting, self._length = memoryview(b"".join(self._waiting)), [], 0
        self._unflushed += len(waiting)
        while waiting:
            waiting = waiting[os.write(self._file, waiting) :]
        if self._unflushed >= UNFLUSHED:
            os.fdatasync(self._file)
            self._unflushed = 0

    def _close(self) -> None:
        if self._open:
            self._open = False
            os.close(self._file)


async def _done(work: Callable[[], Result], undo: Callable[[Result], object] = lambda _: None) -> Result:
    """What `work` returns, in a thread. Raises FilesUnavailable for what the operating system refuses."""
    with _explained():
        return await in_thread(work, undo)


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except OSError as problem:
        _log.error("files of jobs: %s", problem)
        if problem.errno in _FULL:
            raise FilesUnavailable(
                "The disk for the files of jobs (FHIR_FILES_URL) is full, but for FHIR_FILES_ROOM; try again when there is room",
                full=True,
            ) from None
        raise FilesUnavailable(f"The folder for the files of jobs (FHIR_FILES_URL) cannot be used: {problem.strerror}") from None


def _make(folder: Path, root: Path) -> list[Path]:
    """Make a folder with those above it; those that have a new entry now."""
    missing = []
    while not folder.is_dir():
        missing.append(folder)
        folder = folder.parent
    for one in reversed(missing):
        one.mkdir(mode=0o700, exist_ok=True)
    return [one.parent for one in missing if one == root or root in one.parents]


def _moved(draft: Path, target: Path, root: Path) -> list[Path]:
    """Give the draft its name; the folders that have a new entry now. `delete` may take an empty folder away just when it was made."""
    for _ in range(5):
        try:
            made = _make(target.parent, root)
            draft.replace(target)
        except FileNotFoundError:
            if not draft.exists():
                raise
            continue
        return [target.parent, *made]
    raise OSError(errno.EAGAIN, "its folder is deleted again and again")


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size if path.is_file() else None
    except (FileNotFoundError, NotADirectoryError):
        return None


def _opened(path: Path, name: str) -> int:
    try:
        if not path.is_file():
            raise FileMissing(name)
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        raise FileMissing(name) from None


def _below(path: Path, folder: str) -> Iterator[StoredFile]:
    try:
        entries = list(os.scandir(path))
    except (FileNotFoundError, NotADirectoryError):
        return
    for entry in entries:
        name = f"{folder}/{entry.name}"
        if entry.is_dir(follow_symlinks=False):
            yield from _below(Path(entry.path), name)
        elif (size := _size(Path(entry.path))) is not None:
            yield StoredFile(name, size)


def _deleted(path: Path) -> int:
    """Delete what is there, the folders too. What somebody writes there meanwhile stays, with its folder."""
    try:
        entries = list(os.scandir(path))
    except FileNotFoundError:
        return 0
    except NotADirectoryError:
        return _unlinked(path)
    count = 0
    for entry in entries:
        inside = Path(entry.path)
        count += _deleted(inside) if entry.is_dir(follow_symlinks=False) else _unlinked(inside)
    try:
        path.rmdir()
    except OSError as problem:
        if problem.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT):
            raise
    return count


def _unlinked(path: Path) -> int:
    try:
        path.unlink()
    except (FileNotFoundError, NotADirectoryError):
        return 0
    return 1


def _tidied(folder: Path, before: float) -> int:
    try:
        drafts = list(os.scandir(folder))
    except FileNotFoundError:
        return 0
    count = 0
    for draft in drafts:
        with suppress(FileNotFoundError):  # its writer has just ended
            if draft.stat(follow_symlinks=False).st_mtime < before:
                count += _unlinked(Path(draft.path))
    return count
