"""Rows as Parquet and as an Arrow IPC stream, with a schema made from the columns' types, never from the values.

What each type becomes, and why, is in docs/adr/0023-views.md.
"""

import re
from base64 import b64decode
from collections.abc import Callable, Sequence
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet

from fhir_server.files.drain import Drain
from fhir_server.views.rows import Row
from fhir_server.views.types import Column, Kind, kind_of
from fhir_server.views.writers.text import text_of
from resources.outcomes import error

GROUP_ROWS: Final = 20_000
GROUP_BYTES: Final = 8_000_000
"""A row group of Parquet ends with either."""

_INSTANT: Final = pa.timestamp("us", "UTC")
_TYPES: Final[dict[Kind, Any]] = {
    "text": pa.string(), "boolean": pa.bool_(), "integer": pa.int32(), "integer64": pa.int64(), "decimal": pa.float64(),
    "instant": _INSTANT, "binary": pa.binary(), "complex": pa.string(),
}  # fmt: skip
_ANSI: Final = {
    "BOOLEAN": pa.bool_(), "SMALLINT": pa.int16(), "INT": pa.int32(), "INTEGER": pa.int32(), "BIGINT": pa.int64(),
    "REAL": pa.float32(), "FLOAT": pa.float64(), "DOUBLE PRECISION": pa.float64(), "DATE": pa.date32(), "TIMESTAMP": _INSTANT,
    "TIMESTAMP WITH TIME ZONE": _INSTANT, "CHARACTER VARYING": pa.string(), "VARCHAR": pa.string(), "CHARACTER": pa.string(),
    "CHAR": pa.string(), "BINARY": pa.binary(), "VARBINARY": pa.binary(), "BINARY VARYING": pa.binary(),
}  # fmt: skip
_DECIMAL: Final = re.compile(r"(?:DECIMAL|NUMERIC)\s*\(\s*(\d{1,2})\s*(?:,\s*(\d{1,2})\s*)?\)")
_FRACTION: Final = re.compile(r"(\.\d{6})\d+")
_MOST_DIGITS: Final = 38


def schema(columns: Sequence[Column]) -> Any:
    """The Arrow schema of a view's rows; each field tells its FHIR type and description in its metadata."""
    return pa.schema([_field(column) for column in columns])


def _field(column: Column) -> Any:
    one = _type(column)
    told = {"fhir:type": column.type} | ({"description": column.description} if column.description else {})
    return pa.field(column.name, pa.list_(one) if column.collection else one, metadata=told)


def _type(column: Column) -> Any:
    wanted = column.tags.get("ansi/type", "").strip().upper()
    if found := _DECIMAL.fullmatch(wanted):
        digits, places = int(found[1]), int(found[2] or 0)
        if 1 <= digits <= _MOST_DIGITS and places <= digits:
            return pa.decimal128(digits, places)
    named = _ANSI.get(re.sub(r"\s*\(\d+\)", "", wanted))
    return named if named is not None else _TYPES[kind_of(column.type)]


def record_batch(columns: Sequence[Column], shape: Any, rows: Sequence[Row]) -> Any:
    """Rows as a RecordBatch of the schema. Raises FhirError 422, naming the column, for a value that is not of its type."""
    by_column = list(zip(*rows, strict=True)) if rows else [()] * len(columns)
    arrays = [_array(column, shape.field(i).type, by_column[i]) for i, column in enumerate(columns)]
    return pa.record_batch(arrays, schema=shape)


def _array(column: Column, wanted: Any, values: Sequence[Any]) -> Any:
    try:
        return _list(wanted, values) if column.collection else _plain(wanted, values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, ValueError, TypeError, OverflowError):
        inner = wanted.value_type if column.collection else wanted
        text = f"The column {column.name!r} ({column.type}) has a value that is no {inner}; declare it as another type, or tag it ansi/type"
        raise error(422, "value", text, "ViewDefinition.select.column.type") from None


def _list(wanted: Any, values: Sequence[Any]) -> Any:
    starts: list[int | None] = []
    flat: list[Any] = []
    for value in values:
        starts.append(None if value is None else len(flat))
        flat += value or ()
    return pa.ListArray.from_arrays(pa.array([*starts, len(flat)], pa.int32()), _plain(wanted.value_type, flat))


def _plain(wanted: Any, values: Sequence[Any]) -> Any:
    convert = _CONVERSIONS.get(wanted.id)
    return pa.array(values, wanted) if convert is None else convert(wanted, values)


def _texts(wanted: Any, values: Sequence[Any]) -> Any:
    try:
        return pa.array(values, wanted)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return pa.array([None if v is None else text_of(v) for v in values], wanted)


def _floats(wanted: Any, values: Sequence[Any]) -> Any:
    return pa.array([None if v is None else float(v) for v in values], wanted)


def _bytes(wanted: Any, values: Sequence[Any]) -> Any:
    # white space may stand in it (https://hl7.org/fhir/R4/datatypes.html#base64Binary), and nothing else
    return pa.array([None if v is None else b64decode("".join(v.split()), validate=True) for v in values], wanted)


def _times(wanted: Any, values: Sequence[Any]) -> Any:
    texts = pa.array(values, pa.string())
    try:
        return pc.cast(texts, wanted)
    except pa.ArrowInvalid:  # more digits than microseconds
        return pc.cast(pa.array([None if v is None else _FRACTION.sub(r"\1", v) for v in values], pa.string()), wanted)


def _dates(wanted: Any, values: Sequence[Any]) -> Any:
    return pc.cast(pa.array(values, pa.string()), wanted)


_CONVERSIONS: Final[dict[int, Callable[[Any, Sequence[Any]], Any]]] = {
    pa.string().id: _texts, pa.float64().id: _floats, pa.float32().id: _floats, pa.binary().id: _bytes, _INSTANT.id: _times,
    pa.date32().id: _dates,
}  # fmt: skip


class ArrowWriter:
    """An Arrow IPC stream, a RecordBatch for each call."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self._columns, self._schema, self._file = columns, schema(columns), Drain()

    def begin(self) -> bytes:
        """See Writer.begin."""
        self._stream = pa.ipc.new_stream(self._file, self._schema)
        return self._file.take()

    def write(self, rows: Sequence[Row]) -> bytes:
        """See Writer.write."""
        if rows:
            self._stream.write_batch(record_batch(self._columns, self._schema, rows))
        return self._file.take()

    def end(self) -> bytes:
        """See Writer.end."""
        self._stream.close()
        return self._file.take()


class ParquetWriter:
    """Parquet with Zstandard, in row groups."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self._columns, self._schema, self._file = columns, schema(columns), Drain()
        self._batches: list[Any] = []
        self._rows = self._bytes = 0

    def begin(self) -> bytes:
        """See Writer.begin."""
        self._parquet = parquet.ParquetWriter(self._file, self._schema, compression="zstd")
        return self._file.take()

    def write(self, rows: Sequence[Row]) -> bytes:
        """See Writer.write."""
        if rows:
            batch = record_batch(self._columns, self._schema, rows)
            self._batches.append(batch)
            self._rows, self._bytes = self._rows + batch.num_rows, self._bytes + batch.nbytes
        if self._rows >= GROUP_ROWS or self._bytes >= GROUP_BYTES:
            self._group()
        return self._file.take()

    def end(self) -> bytes:
        """See Writer.end."""
        if self._batches:
            self._group()
        self._parquet.close()
        return self._file.take()

    def _group(self) -> None:
        self._parquet.write_table(pa.Table.from_batches(self._batches, self._schema), row_group_size=self._rows)
        self._batches, self._rows, self._bytes = [], 0, 0
