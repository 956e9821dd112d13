"""The formats that rows can be had in, by name and by media type."""

from collections.abc import Sequence
from typing import Final, Protocol

from fhir_server.views.rows import Row
from fhir_server.views.types import Column
from fhir_server.views.writers.text import CsvWriter, JsonWriter, NdjsonWriter

MEDIA_TYPES: Final = {
    "json": "application/json",
    "ndjson": "application/x-ndjson",
    "csv": "text/csv; charset=utf-8",
    "parquet": "application/vnd.apache.parquet",
    "arrow": "application/vnd.apache.arrow.stream",
}
"""Format -> media type of what is written."""

_ACCEPTED: Final = {
    "application/json": "json", "application/fhir+json": "json", "application/x-ndjson": "ndjson", "application/ndjson": "ndjson",
    "application/fhir+ndjson": "ndjson", "text/csv": "csv", "application/vnd.apache.parquet": "parquet",
    "application/x-parquet": "parquet", "application/octet-stream": "parquet", "application/vnd.apache.arrow.stream": "arrow",
}  # fmt: skip


class Writer(Protocol):
    """Makes one file of a view's rows. Memory is bounded by what one call brings, and by a row group."""

    def begin(self) -> bytes:
        """What stands before the rows."""

    def write(self, rows: Sequence[Row]) -> bytes:
        """The rows that are due: maybe of an earlier call too, maybe none yet. Raises FhirError 422 for a value that is not of its
        column's type."""

    def end(self) -> bytes:
        """The rest, and what stands behind the rows."""


def format_of(name: str) -> str | None:
    """The format that a name (`csv`) or a media type means; None for others."""
    plain = name.partition(";")[0].strip().lower()
    return plain if plain in MEDIA_TYPES else _ACCEPTED.get(plain)


def writer(format: str, columns: Sequence[Column], *, header: bool = True) -> Writer:
    """A writer of one of MEDIA_TYPES' formats. `header`: CSV begins with the columns' names."""
    if format == "csv":
        return CsvWriter(columns, header=header)
    if format == "json":
        return JsonWriter(columns)
    if format == "ndjson":
        return NdjsonWriter(columns)
    from fhir_server.views.writers.arrow import ArrowWriter, ParquetWriter  # 40 MB that the other formats do not need

    return ParquetWriter(columns) if format == "parquet" else ArrowWriter(columns)
