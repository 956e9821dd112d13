"""The files of an export as tables: its types, and views that were exported as Parquet."""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import IO, Final

import msgspec
import pyarrow as pa
from pyarrow import parquet

from conformance.load import definitions
from fhir_server.exporting.writing.parquet import Columns, schema_of
from fhir_server.exporting.writing.written import Item
from fhir_server.loading.sources import Source, Unreadable
from fhir_server.views.compiler import View
from fhir_server.views.running import Run
from fhir_server.views.sql.statement import Unusable
from fhir_server.views.sql.tables import NAME, write_view

LINES: Final = (".ndjson", ".ndjson.gz", ".jsonl", ".jsonl.gz")
"""Endings of files with one document a line."""

_AT_ONCE: Final = 1_000


class Export:
    """What an export has left in a folder: tables under the names of types, with the columns that its Parquet has, and under the names of
    views that were exported as Parquet."""

    def __init__(self, path: Path) -> None:
        self.tables: dict[str, list[Path]] = {}
        for file in _files_of(path):
            name = file.name.partition(".")[0]
            lines = file.name.endswith(LINES)
            if (lines and name in definitions().resource_types) or (file.suffix == ".parquet" and NAME.fullmatch(name)):
                self.tables.setdefault(name, []).append(file)
        if not self.tables:
            raise Unusable(f"{path} has no files of an export, such as Patient.000.ndjson or Patient.000.parquet")

    def columns(self, name: str) -> list[str]:
        """The names of a table's columns. Raises Unusable."""
        first = self.tables[name][0]
        if first.suffix != ".parquet":
            return list(schema_of(name).names)
        try:
            return list(parquet.read_schema(first).names)
        except (OSError, pa.ArrowException) as problem:
            raise Unusable(f"{first} cannot be read: {problem}") from None

    async def as_parquet(self, name: str, scratch: Path) -> list[Path]:
        """The Parquet files of a table: those that are there, and one that is made of NDJSON. Raises Unusable, OSError."""
        lines = [file for file in self.tables[name] if file.suffix != ".parquet"]
        made = [file.absolute() for file in self.tables[name] if file.suffix == ".parquet"]
        if lines:
            with _told_of(lines, name), (target := scratch / f"{name}.lines.parquet").open("wb") as file:
                sheet = Columns(_Plain(file), name)
                for portion in _in_portions(lines):
                    await sheet.write(portion)
                await sheet.finish()
            made.append(target)
        return made

    async def view_as_parquet(self, view: View, target: Path) -> None:
        """The rows of a view of the export's documents as a Parquet file. Raises Unusable, also where it has them as Parquet; OSError."""
        files = self.tables.get(view.resource, [])
        if any(file.suffix == ".parquet" for file in files):
            raise Unusable(f"a view of {view.resource} needs its documents as NDJSON, and the export has them as Parquet")
        with _told_of(files, view.resource):
            await write_view(Run(view, None, resources=_lines_of(files)), target)


@contextmanager
def _told_of(files: Iterable[Path], type: str) -> Iterator[None]:
    """What cannot be read as documents is told of with the names of the files."""
    try:
        yield
    except (msgspec.MsgspecError, UnicodeDecodeError, ValueError, pa.ArrowException):
        raise Unusable(f"a line of {', '.join(file.name for file in files)} is no {type} in JSON") from None


class _Plain:
    """A local file as `Columns` writes it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self.size = file, 0

    async def write(self, data: bytes) -> None:
        """See Writer.write."""
        self._file.write(data)
        self.size += len(data)


def _files_of(path: Path) -> list[Path]:
    """The files of a folder, or those beside a manifest that it names. Raises Unusable."""
    try:
        if path.is_dir():
            return sorted(file for file in path.iterdir() if file.is_file())
        manifest = json.loads(path.read_bytes())
        names = [str(item["url"]).partition("?")[0].rpartition("/")[2] for item in manifest["output"]]
    except OSError as problem:
        raise Unusable(f"{path} cannot be read: {problem.strerror}") from None
    except (ValueError, LookupError, TypeError):
        raise Unusable(f"{path} is neither a folder nor the manifest of an export") from None
    found = []
    for name in names:
        file = next((path.parent / each for each in (name, f"{name}.gz") if (path.parent / each).is_file()), None)
        if file is None:
            raise Unusable(f"{path} names {name}, which does not lie beside it")
        found.append(file)
    return found


def _lines_of(files: Iterable[Path]) -> Iterator[bytes]:
    """The documents in files, a line each. Raises Unusable."""
    for file in files:
        try:
            for document in Source(file).documents():
                yield document.body
        except Unreadable as problem:
            raise Unusable(f"{file} cannot be read: {problem}") from None


def _in_portions(files: Iterable[Path]) -> Iterator[list[Item]]:
    lines = _lines_of(files)
    while portion := [Item(line, 0) for line in islice(lines, _AT_ONCE)]:
        yield portion
