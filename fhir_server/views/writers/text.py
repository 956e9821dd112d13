"""Rows as JSON, NDJSON and CSV. Numbers keep their digits, dates their precision."""

import csv
import io
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from fhir_server.views.rows import Row
from fhir_server.views.types import Column

_encoder: Final = msgspec.json.Encoder(decimal_format="number")


class NdjsonWriter:
    """One JSON object a line, every column in each, null where there is nothing."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self._names = [column.name for column in columns]

    def begin(self) -> bytes:
        """See Writer.begin."""
        return b""

    def write(self, rows: Sequence[Row]) -> bytes:
        """See Writer.write."""
        return _encoder.encode_lines([dict(zip(self._names, row, strict=True)) for row in rows])

    def end(self) -> bytes:
        """See Writer.end."""
        return b""


class JsonWriter:
    """One array of objects."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self._names = [column.name for column in columns]
        self._any = False

    def begin(self) -> bytes:
        """See Writer.begin."""
        return b"["

    def write(self, rows: Sequence[Row]) -> bytes:
        """See Writer.write."""
        if not rows:
            return b""
        before, self._any = b",\n" if self._any else b"\n", True
        return before + b",\n".join([_encoder.encode(dict(zip(self._names, row, strict=True))) for row in rows])

    def end(self) -> bytes:
        """See Writer.end."""
        return b"\n]\n" if self._any else b"]\n"


class CsvWriter:
    """RFC 4180: lines end in CR LF, quotes where they must be. Nothing is an empty field; lists and complex values are JSON."""

    def __init__(self, columns: Sequence[Column], *, header: bool = True) -> None:
        self._names = [column.name for column in columns]
        self._header = header

    def begin(self) -> bytes:
        """See Writer.begin."""
        return _lines([self._names]) if self._header else b""

    def write(self, rows: Sequence[Row]) -> bytes:
        """See Writer.write."""
        return _lines([[_cell(value) for value in row] for row in rows])

    def end(self) -> bytes:
        """See Writer.end."""
        return b""


def _lines(rows: list[list[Any]]) -> bytes:
    out = io.StringIO(newline="")
    csv.writer(out, lineterminator="\r\n").writerows(rows)
    return out.getvalue().encode()


def _cell(value: Any) -> Any:
    if isinstance(value, str) or value is None:
        return value
    return text_of(value)


def text_of(value: Any) -> str:
    """A value as text: as FHIR writes it, complex ones as JSON."""
    return value if isinstance(value, str) else _encoder.encode(value).decode()
