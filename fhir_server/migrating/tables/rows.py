"""Rows of a CSV file (RFC 4180), with the numbers that a spreadsheet shows: the header is row 1."""

import csv
import gzip
import io
from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import IO, NamedTuple, cast

from fhir_server.migrating.contract import Stopped
from fhir_server.migrating.tables.mapping import FileRule
from fhir_server.migrating.tables.values import Row


class Read(NamedTuple):
    """A row, or why it cannot be read."""

    number: int
    row: Row | None
    problem: str = ""


def header_of(path: Path, rule: FileRule) -> list[str]:
    """The names of a file's columns. Raises Stopped."""
    if rule.header:
        return list(rule.header)
    with closing(_records(path, rule)) as records:
        try:
            return [name.strip() for name in next(records)]
        except StopIteration:
            raise Stopped(f"{path.name} is empty: it has no header") from None
        except csv.Error as problem:
            raise Stopped(f"the header of {path.name} cannot be read: {problem}") from None


def rows(path: Path, rule: FileRule, longest: int, after: int = 0) -> Iterator[Read]:
    """The rows behind that number; a cell has at most `longest` signs. A row that cannot be read is told. Raises Stopped where no row
    behind it can be."""
    names, number = header_of(path, rule), 0
    csv.field_size_limit(longest)
    with closing(_records(path, rule)) as records:
        while True:
            try:
                record = next(records)
            except StopIteration:
                return
            except csv.Error as problem:
                raise Stopped(f"{path.name} row {number + 1} cannot be read: {problem}; mend it, and import again") from None
            number += 1
            if number <= after or (number == 1 and not rule.header) or not any(cell.strip() for cell in record):
                continue
            yield _read(number, record, names, rule)


def _read(number: int, record: list[str], names: list[str], rule: FileRule) -> Read:
    if len(record) != len(names):
        text = f"The row has {len(record)} cells, and the header {len(names)}: is it quoted as it should be?"
        return Read(number, None, text)
    cells = (cell.strip() for cell in record)
    return Read(number, {name: "" if cell in rule.empty else cell for name, cell in zip(names, cells, strict=True)})


def _records(path: Path, rule: FileRule) -> Generator[list[str], None, None]:
    """Raises Stopped, csv.Error."""
    try:
        with path.open("rb") as file, ExitStack() as stack:
            packed = file.peek(2)[:2] == b"\x1f\x8b"
            binary = cast("IO[bytes]", stack.enter_context(gzip.open(file)) if packed else file)
            with io.TextIOWrapper(binary, encoding=rule.encoding, newline="") as text:
                yield from csv.reader(text, delimiter=rule.delimiter, strict=True)
    except UnicodeDecodeError as problem:
        raise Stopped(f"{path.name} is not text in {rule.encoding} ({problem.reason}): name its encoding, such as cp1252") from None
    except (OSError, EOFError) as failure:
        raise Stopped(f"{path} cannot be read: {getattr(failure, 'strerror', None) or failure}") from None
