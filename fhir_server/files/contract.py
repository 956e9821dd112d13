"""What a place for the files of jobs promises: exports, and the reports of imports. A folder (`folder.py`) or an S3 bucket (`bucket.py`).

A name is a path of segments, `exports/0198…/Patient.000.ndjson`; a folder is its beginning, with or without a slash at the end.
"""

import re
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager
from typing import Final, NamedTuple, Protocol

PIECE: Final = 256 * 1024
"""Bytes of a piece that is read, at most."""

ABANDONED: Final = 86_400.0
"""Seconds after which what a writer has left behind is no longer being written."""

_SEGMENT = r"[A-Za-z0-9_][A-Za-z0-9._=-]{0,199}"
_NAME = re.compile(rf"{_SEGMENT}(/{_SEGMENT}){{0,9}}", re.ASCII)


class FilesUnavailable(Exception):
    """Files cannot be written or read now: the disk is full, the bucket refuses, the network is gone.

    Nothing was published under the name. The text tells a person what to do, without hosts, paths or keys. HTTP 503 (507 where `full`)."""

    def __init__(self, text: str, *, full: bool = False) -> None:
        super().__init__(text)
        self.full = full


class FileMissing(Exception):
    """There is no file of this name."""


class StoredFile(NamedTuple):
    """A file that is there: its whole name, and its size in bytes."""

    name: str
    size: int


class Writer(Protocol):
    """A file that is being written."""

    @property
    def size(self) -> int:
        """Bytes that were given to `write` so far."""

    async def write(self, data: bytes) -> None:
        """Add to the end. Raises FilesUnavailable, now or at a later write or at the end."""


class Files(Protocol):
    """The place. All methods may raise FilesUnavailable, and ValueError for a name that is not one (`checked`)."""

    def writing(self, name: str, content_type: str) -> AbstractAsyncContextManager[Writer]:
        """Write a file. When the block ends it is there, whole and durable, in place of an earlier one of this name; where the block
        raises, is cancelled, or its process is killed, nothing has happened. `content_type` goes along where the place keeps it."""

    async def size(self, name: str) -> int | None:
        """Its size in bytes; None where there is none."""

    def reading(self, name: str, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes, None]:
        """Its bytes from `start` to before `end` (None: its end), as far as it has them, in pieces of PIECE at most; to be closed where it
        is not read to its end. What is read is of one file: where the name is written anew meanwhile, of the old one, or FilesUnavailable
        is raised.

        Raises FileMissing at the first piece.
        """

    async def names(self, folder: str) -> list[StoredFile]:
        """All files below a folder, in the order of their names; none where there is no such folder."""

    async def delete(self, folder: str) -> int:
        """Delete all files below a folder, or the one file of this name; how many they were. What is not there is deleted already."""

    async def link(self, name: str, seconds: int) -> str | None:
        """A URL at which whoever has it may read the file for so long; None where the place gives out none."""

    async def tidy(self, seconds: float = ABANDONED) -> int:
        """Remove what writers that were killed have left behind, once nothing was added to it for so long; how many files they were."""

    async def check(self) -> None:
        """Write, read and delete a small file. Raises FilesUnavailable with what an operator has to see to."""


def checked(name: str) -> str:
    """The name of a file or folder. Raises ValueError for what is none: `..`, an absolute path, other characters than `A-Za-z0-9._=-`, a
    segment of more than 200 of them or with a dot at its beginning, more than ten segments."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name[:100]!r} is no name of a file or folder")
    return name


def checked_folder(folder: str) -> str:
    """The name of a folder, without a slash at the end. Raises ValueError as `checked`."""
    return checked(folder.removesuffix("/"))
