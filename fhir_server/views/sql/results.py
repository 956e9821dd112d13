"""The rows of an answer: as a table for people, or in the formats that views have."""

import datetime
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import IO, Any, Final

import pyarrow as pa
from pyarrow import parquet
from rich.table import Table
from rich.text import Text

from fhir_server.views.types import Column
from fhir_server.views.writers.formats import writer
from fhir_server.views.writers.text import text_of

SHOWN: Final = 1_000
"""Rows of a table for people."""

_CONTROLS: Final = {number: "\N{REPLACEMENT CHARACTER}" for number in (*range(32), *range(127, 160))}


def write(rows: pa.RecordBatchReader, format: str, file: IO[bytes]) -> int:
    """Write all rows; how many they were."""
    if format == "parquet":
        return _write_parquet(rows, file)
    into = writer(format, [Column(name, "string") for name in _names(rows.schema)])
    file.write(into.begin())
    count = 0
    for batch in rows:
        count += batch.num_rows
        file.write(into.write(_rows(batch)))
    file.write(into.end())
    return count


def _write_parquet(rows: pa.RecordBatchReader, file: IO[bytes]) -> int:
    names, count = _names(rows.schema), 0
    shape = pa.schema([field.with_name(name) for field, name in zip(rows.schema, names, strict=True)])
    with parquet.ParquetWriter(file, shape, compression="zstd") as into:
        for batch in rows:
            count += batch.num_rows
            into.write_batch(pa.record_batch(batch.columns, schema=shape))
    return count


def _names(shape: pa.Schema) -> list[str]:
    """The names of the columns, each once."""
    names: list[str] = []
    for name in shape.names:
        number, free = 2, name
        while free in names:
            number, free = number + 1, f"{name}_{number}"
        names.append(free)
    return names


def _rows(batch: pa.RecordBatch) -> list[tuple[Any, ...]]:
    columns = [_values(column) for column in batch.columns]
    return list(zip(*columns, strict=True)) if columns else []


def _values(column: pa.Array) -> list[Any]:
    found = column.to_pylist()
    if pa.types.is_nested(column.type):
        return [_plain(value) for value in found]
    simple = pa.types.is_string(column.type) or pa.types.is_integer(column.type) or pa.types.is_floating(column.type)
    return found if simple else [_plain(value) for value in found]


def _plain(value: Any) -> Any:
    """What JSON has no value for, as text: moments as ISO 8601."""
    if isinstance(value, datetime.datetime) and value.tzinfo is not None:
        return f"{value.astimezone(datetime.UTC).replace(tzinfo=None).isoformat()}Z"
    if isinstance(value, datetime.datetime | datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    return value if isinstance(value, str | int | float | Decimal | None) else str(value)


def as_table(rows: pa.RecordBatchReader) -> tuple[Table, int, bool]:
    """The first rows for people to look at, how many these are, and whether there are more."""
    names = _names(rows.schema)
    table = Table()
    for name, field in zip(names, rows.schema, strict=True):
        table.add_column(Text(name.translate(_CONTROLS)), justify="right" if _is_number(field.type) else "left", overflow="fold")
    count = 0
    for row in _each(rows):
        if count == SHOWN:
            return table, count, True
        table.add_row(*(Text(_shown(value)) for value in row))
        count += 1
    return table, count, False


def _each(rows: pa.RecordBatchReader) -> Iterator[Sequence[Any]]:
    for batch in rows:
        yield from _rows(batch)


def _is_number(type: pa.DataType) -> bool:
    return bool(pa.types.is_integer(type) or pa.types.is_floating(type) or pa.types.is_decimal(type))


def _shown(value: Any) -> str:
    """A cell without anything that a terminal would carry out."""
    return "" if value is None else text_of(value).translate(_CONTROLS)


@contextmanager
def private(path: Path) -> Iterator[IO[bytes]]:
    """A file that only its owner may read: it holds records. It stands under its name, in place of another one, once the block has ended,
    and not where the block fails. What is no file, such as a pipe, is written as it comes. Raises OSError."""
    target = path.resolve()
    if target.exists() and not target.is_file():
        with target.open("wb") as other:
            yield other
        return
    draft = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            yield file
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)
