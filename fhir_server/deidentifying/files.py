"""De-identification of NDJSON files: read a line at a time, written as one file a type. Nothing stands under its name before all of it
is done; the memory needed is that of the longest line."""

import gzip
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from io import BufferedReader
from pathlib import Path
from typing import IO, cast

import msgspec

from fhir_server.deidentifying.deidentifier import Deidentifier
from resources.documents import decode, encode
from resources.outcomes import FhirError
from resources.structure import check
from search.extract import Extractor

LONGEST = 64 * 1024 * 1024
"""Bytes of a line that is still read; a longer one is told of and passed over."""

TOLD = 1_000
"""Failures that are remembered with their place; more are counted."""

_GZIP = b"\x1f\x8b"
_SUFFIXES = (".ndjson", ".jsonl", ".ndjson.gz", ".jsonl.gz")
_AT_ONCE = 1024 * 1024


class Unusable(Exception):
    """A file or folder that cannot be used; the text says which and why."""


@dataclass(slots=True)
class Failure:
    """A line that came to nothing: file, line (from 1), why. No text has anything of the document's content."""

    source: str
    line: int
    text: str


@dataclass(slots=True)
class Totals:
    """What was done: documents written and left out, by type; failures."""

    written: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)
    failed: int = 0
    failures: list[Failure] = field(default_factory=list)

    def fail(self, source: str, line: int, text: str) -> None:
        """Count a failure."""
        self.failed += 1
        if len(self.failures) < TOLD:
            self.failures.append(Failure(source, line, text))


class Files:
    """De-identifies files into a folder. `extractor` says in whose compartment a document lies."""

    def __init__(self, deidentifier: Deidentifier, extractor: Extractor, folder: Path) -> None:
        self._deidentifier, self._extractor, self._folder = deidentifier, extractor, folder
        self._open: dict[str, IO[bytes]] = {}

    def run(self, paths: Sequence[str], progress: Callable[[Totals], None] = lambda totals: None) -> Totals:
        """Read the files (`-`: standard input) and write `<Type>.ndjson` for each type. Lines that fail are counted and passed over.

        Raises Unusable where a file cannot be read, or the folder is not empty or cannot be written to: then no file is left in it.
        """
        totals = Totals()
        sources = [_source(path) for path in paths]
        parts = self._prepare()
        try:
            with ExitStack() as stack:
                for path in sources:
                    self._read(path, totals, stack, progress)
            for type in self._open:
                (self._folder / f"{type}.ndjson.part").rename(self._folder / f"{type}.ndjson")
        except OSError as error:
            raise Unusable(f"{error.filename or parts} cannot be used: {error.strerror or error}") from None
        finally:
            for left in parts.glob("*.ndjson.part"):
                left.unlink()
        return totals

    def _prepare(self) -> Path:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            if any(self._folder.iterdir()):
                raise Unusable(f"{self._folder} is not empty: name a folder of its own for the de-identified files")
        except OSError as error:
            raise Unusable(f"{self._folder} cannot be used: {error.strerror}") from None
        return self._folder

    def _read(self, path: Path | None, totals: Totals, stack: ExitStack, progress: Callable[[Totals], None]) -> None:
        name, number = str(path) if path else "standard input", 0
        try:
            for number, line in _lines(path):
                self._line(name, number, line, totals, stack)
                if number % 1_000 == 0:
                    progress(totals)
        except (EOFError, gzip.BadGzipFile) as error:
            totals.fail(name, number + 1, f"the file is damaged or cut off here: {error}")

    def _line(self, name: str, number: int, line: bytes | None, totals: Totals, stack: ExitStack) -> None:
        if line is None:
            totals.fail(name, number, f"the line is longer than {LONGEST // 1024 // 1024} MB")
            return
        try:
            document = decode(line)
            wrong = next((issue for issue in check(line) if issue.severity in ("error", "fatal")), None)
        except (FhirError, msgspec.DecodeError):
            totals.fail(name, number, "no resource of FHIR R4 in JSON")
            return
        if wrong is not None:
            totals.fail(name, number, f"not valid at {wrong.expression or 'its root'}")
            return
        type = document["resourceType"]
        made = None
        if self._deidentifier.exported(type):
            made = self._deidentifier.document(type, document, self._extractor.extract(type, document).patients)
        counts = totals.left_out if made is None else totals.written
        counts[type] = counts.get(type, 0) + 1
        if made is not None:
            self._file(type, stack).write(encode(made) + b"\n")

    def _file(self, type: str, stack: ExitStack) -> IO[bytes]:
        if (file := self._open.get(type)) is None:
            file = self._open[type] = stack.enter_context((self._folder / f"{type}.ndjson.part").open("xb"))
        return file


def _source(path: str) -> Path | None:
    if path == "-":
        return None
    if not path.endswith(_SUFFIXES):
        raise Unusable(f"{path} is no NDJSON file: .ndjson, .jsonl, packed (.gz) or not")
    if not Path(path).is_file():
        raise Unusable(f"{path} does not exist")
    return Path(path)


def _lines(path: Path | None) -> Iterator[tuple[int, bytes | None]]:
    """The lines that are not empty, with their numbers; None in the place of one that is too long."""
    with ExitStack() as stack:
        file = stack.enter_context(path.open("rb")) if path else cast("BufferedReader", sys.stdin.buffer)
        content = cast("BufferedReader", gzip.GzipFile(fileobj=file)) if file.peek(2)[:2] == _GZIP else file
        number = 0
        while line := content.readline(LONGEST + 1):
            number += 1
            if len(line) > LONGEST:
                _pass_over(content, line)
                yield number, None
            elif line := line.strip():
                yield number, line


def _pass_over(content: BufferedReader, line: bytes) -> None:
    while line and not line.endswith(b"\n"):
        line = content.readline(_AT_ONCE)
