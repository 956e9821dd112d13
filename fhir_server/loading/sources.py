"""What `load` reads: files, folders and standard input, packed or not, as numbered JSON documents."""

import gzip
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from io import BufferedReader
from pathlib import Path
from typing import NamedTuple, cast

SUFFIXES = (".json", ".ndjson", ".jsonl")
FIRST = ("hospital", "organization", "location", "practitioner")
"""Files of a folder whose names begin like this are read first: other files refer to what is in them."""

LONGEST = 256 * 1024 * 1024
"""Bytes of one document, unpacked: a few packed ones may be gigabytes."""

_GZIP = b"\x1f"
_EDGE = 65_536


class Document(NamedTuple):
    """One JSON document: the line where it stands (1 for a file that is one document) and its bytes."""

    line: int
    body: bytes


class Unreadable(Exception):
    """A path that cannot be loaded; the text says which and why."""


@dataclass(slots=True)
class Source:
    """One file, or standard input (`path` None). `read` counts the bytes of the file read so far, as they are on disk."""

    path: Path | None
    size: int = 0
    read: int = 0

    @property
    def name(self) -> str:
        """What messages call it."""
        return str(self.path) if self.path else "standard input"

    def identity(self) -> str | None:
        """The same for the same content wherever the file lies: size, first and last 64 kB. None for standard input. Raises Unreadable."""
        if self.path is None:
            return None
        digest = blake2b(str(self.size).encode(), digest_size=16)
        try:
            with self.path.open("rb") as file:
                digest.update(file.read(_EDGE))
                if self.size > _EDGE:
                    file.seek(-_EDGE, 2)
                    digest.update(file.read())
        except OSError as error:
            raise Unreadable(f"{self.name} cannot be read: {error.strerror}") from None
        return digest.hexdigest()

    def documents(self) -> Iterator[Document]:
        """The file's documents, in order. Raises Unreadable where reading or unpacking fails, or one is longer than LONGEST."""
        try:
            if self.path is None:
                yield from self._documents(cast("BufferedReader", sys.stdin.buffer), lines=True)
            else:
                with self.path.open("rb") as file:
                    suffix = Path(self.path.name.removesuffix(".gz")).suffix
                    yield from self._documents(file, lines=suffix != ".json")
        except (OSError, EOFError, zlib.error) as error:
            raise Unreadable(f"the file cannot be read from here on: {error}") from None

    def _documents(self, file: BufferedReader, *, lines: bool) -> Iterator[Document]:
        content = cast("BufferedReader", gzip.GzipFile(fileobj=file)) if file.peek(1)[:1] == _GZIP else file
        if not lines:
            yield Document(1, _bounded(content.read, 1))
            return
        number = 0
        while line := _bounded(content.readline, number + 1):
            number += 1
            if number == 1 and line.strip() in (b"{", b"["):  # one document, laid out over many lines
                yield Document(1, line + _bounded(content.read, 1))
                return
            if self.path is not None:
                self.read = file.tell()
            if body := line.strip():
                yield Document(number, body)


def _bounded(read: Callable[[int], bytes], line: int) -> bytes:
    found = read(LONGEST + 1)
    if len(found) > LONGEST:
        raise Unreadable(
            f"the document in line {line} has more than {LONGEST // 1024 // 1024} MB: what comes from there on is not read"
        )
    return found


def find(paths: Sequence[str]) -> list[Source]:
    """The sources that the paths name, folders opened up, in the order in which they are to be loaded. Raises Unreadable."""
    found: list[Source] = []
    for path in paths:
        if path == "-":
            found.append(Source(None))
        elif Path(path).is_dir():
            found += [_source(inside) for inside in _folder(Path(path))]
        else:
            found.append(_source(Path(path)))
    return found


def _folder(folder: Path) -> list[Path]:
    files = [path for path in folder.rglob("*") if path.is_file() and _loadable(path)]
    if not files:
        raise Unreadable(f"{folder} holds nothing to load: no .json, .ndjson or .jsonl files, packed (.gz) or not")
    return sorted(files, key=lambda path: (_rank(path.name), str(path)))


def _rank(name: str) -> int:
    lower = name.lower()
    return next((place for place, start in enumerate(FIRST) if lower.startswith(start)), len(FIRST))


def _loadable(path: Path) -> bool:
    return Path(path.name.removesuffix(".gz")).suffix in SUFFIXES


def _source(path: Path) -> Source:
    if not path.exists():
        raise Unreadable(f"{path} does not exist")
    if not _loadable(path):
        raise Unreadable(f"{path} is not something to load: .json, .ndjson or .jsonl files, packed (.gz) or not")
    return Source(path, path.stat().st_size)
