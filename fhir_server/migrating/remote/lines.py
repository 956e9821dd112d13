"""Lines of files that were fetched, packed or not, with bounds: a file from elsewhere may be one endless line, or unpack into more than
there is room for."""

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from fhir_server.migrating.contract import Stopped


class Line(NamedTuple):
    """A line that is not empty, without white space at its ends: its number from 1 on. `whole`: it is not cut off."""

    number: int
    body: bytes
    whole: bool = True


def lines(path: Path, longest: int, most: int) -> Iterator[Line]:
    """The lines of a file; of one that is longer than `longest` bytes the beginning. Raises Stopped where the file unpacks into more than
    `most` bytes, or cannot be unpacked."""
    number = size = 0
    with path.open("rb") as file:
        packed = file.peek(2)[:2] == b"\x1f\x8b"
        with gzip.open(file) if packed else file as content:
            try:
                while line := content.readline(longest + 1):
                    number, end = number + 1, line
                    size += len(line)
                    while (
                        len(end) > longest and not end.endswith(b"\n") and size <= most and (end := content.readline(longest + 1))
                    ):
                        size += len(end)
                    if size > most:
                        raise Stopped(f"{path.name} unpacks into more than {most:,} bytes (FHIR_IMPORT_MAX_SIZE)")
                    if body := line.strip():
                        yield Line(number, body, len(line) <= longest)
            except (EOFError, zlib.error, gzip.BadGzipFile):
                raise Stopped(f"{path.name} cannot be unpacked behind line {number}") from None
