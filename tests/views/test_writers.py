"""Rows as bytes: what each type becomes in each format, nothing at all, lists, quotes, and values that do not fit."""

import csv
import io
import json
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from fhir_server.views.rows import Row
from fhir_server.views.types import Column
from fhir_server.views.writers import arrow
from fhir_server.views.writers.formats import MEDIA_TYPES, format_of, writer
from resources.outcomes import FhirError


def written(format: str, columns: list[Column], *batches: list[Row], header: bool = True) -> bytes:
    """A whole file."""
    into = writer(format, columns, header=header)
    return b"".join((into.begin(), *(into.write(rows) for rows in batches), into.end()))


def table(columns: list[Column], *batches: list[Row]) -> pa.Table:
    """What Parquet gives back, checked to be what Arrow does."""
    found = parquet.read_table(io.BytesIO(written("parquet", columns, *batches)))
    assert pa.ipc.open_stream(written("arrow", columns, *batches)).read_all().equals(found)
    return found


TYPED: list[tuple[str, dict[str, str], Any, pa.DataType, Any]] = [
    ("boolean", {}, True, pa.bool_(), True),
    ("integer", {}, -7, pa.int32(), -7),
    ("positiveInt", {}, 2_147_483_647, pa.int32(), 2_147_483_647),
    ("integer64", {}, 2**53, pa.int64(), 2**53),
    ("decimal", {}, Decimal("72.50"), pa.float64(), 72.5),
    ("decimal", {}, 72, pa.float64(), 72.0),
    ("decimal", {"ansi/type": "DECIMAL(18, 6)"}, Decimal("72.50"), pa.decimal128(18, 6), Decimal("72.500000")),
    ("decimal", {"ansi/type": "character varying"}, Decimal("72.50"), pa.string(), "72.50"),
    ("date", {}, "2026-05", pa.string(), "2026-05"),
    ("date", {"ansi/type": "DATE"}, "2026-05-31", pa.date32(), date(2026, 5, 31)),
    ("dateTime", {"ansi/type": "TIMESTAMP"}, "2026-05-31T01:00:00+02:00", pa.timestamp("us", "UTC"), datetime(2026, 5, 30, 23, tzinfo=UTC)),
    ("instant", {}, "2026-05-31T01:00:00.1234567Z", pa.timestamp("us", "UTC"), datetime(2026, 5, 31, 1, 0, 0, 123456, UTC)),
    ("base64Binary", {}, "aGVs bG8=", pa.binary(), b"hello"),
    ("string", {}, "ü\n\"'", pa.string(), "ü\n\"'"),
    ("Quantity", {}, {"value": Decimal("1.0")}, pa.string(), '{"value":1.0}'),
    ("integer", {"ansi/type": "VARCHAR(20)"}, 5, pa.string(), "5"),
    ("integer", {"ansi/type": "nonsense"}, 5, pa.int32(), 5),
]  # fmt: skip


@pytest.mark.parametrize(("type", "tags", "value", "shape", "back"), TYPED)
def test_types(type: str, tags: dict[str, str], value: Any, shape: pa.DataType, back: Any) -> None:
    """A column's declared type and its tag make its Arrow type, with nothing beside values, and in lists."""
    found = table(
        [Column("a", type, tags=tags), Column("b", type, True, tags=tags)], [(value, [value, value]), (None, None), (None, [])]
    )
    assert [field.type for field in found.schema] == [shape, pa.list_(shape)]
    assert found.to_pylist() == [{"a": back, "b": [back, back]}, {"a": None, "b": None}, {"a": None, "b": []}]


def test_columns_say_what_they_are() -> None:
    """FHIR type and description are in the metadata of the field, which Parquet keeps."""
    [field] = table([Column("a", "code", description="ä")], [("x",)]).schema
    assert field.metadata[b"fhir:type"] == b"code" and field.metadata[b"description"].decode() == "ä"


@pytest.mark.parametrize(
    ("type", "tags", "value"),
    [
        ("integer", {}, "x"),
        ("integer", {}, 2**31),
        ("date", {"ansi/type": "DATE"}, "2026-05"),
        ("instant", {}, "yesterday"),
        ("base64Binary", {}, "?"),
        ("decimal", {}, "x"),
        ("decimal", {"ansi/type": "DECIMAL(3,1)"}, Decimal("1234.5")),
        ("boolean", {}, "true"),
    ],
)
def test_values_that_do_not_fit(type: str, tags: dict[str, str], value: Any) -> None:
    """A value that is not of its column's type is refused with the name of the column."""
    for column, cell in ((Column("odd", type, tags=tags), value), (Column("odd", type, True, tags=tags), [value])):
        for format in ("parquet", "arrow"):
            with pytest.raises(FhirError, match="The column 'odd'") as refusal:
                written(format, [column], [(cell,)])
            assert refusal.value.status == 422


MIXED = [
    Column("n", "decimal"),
    Column("t", "string"),
    Column("l", "string", True),
    Column("b", "boolean"),
    Column("q", "Quantity"),
]
ROWS: list[Row] = [
    (Decimal("1.50"), 'a,"b"\r\nc', ["x", "y"], True, {"value": Decimal("2.0")}),
    (None, "", [], False, None),
    (3, None, None, None, None),
]


def test_text() -> None:
    """Numbers keep their digits; nothing is null in JSON, an empty field in CSV; lists and what is complex are JSON in CSV."""
    objects = [dict(zip(("n", "t", "l", "b", "q"), row, strict=True)) for row in ROWS]
    assert json.loads(written("json", MIXED, ROWS[:1], ROWS[1:]), parse_float=Decimal) == objects
    lines = written("ndjson", MIXED, ROWS[:2], [], ROWS[2:])
    assert [json.loads(line, parse_float=Decimal) for line in lines.splitlines()] == objects
    assert lines.startswith(b'{"n":1.50,') and lines.endswith(b"}\n")
    assert written("csv", MIXED, ROWS) == (
        b'n,t,l,b,q\r\n1.50,"a,""b""\r\nc","[""x"",""y""]",true,"{""value"":2.0}"\r\n,,[],false,\r\n3,,,,\r\n'
    )


@pytest.mark.parametrize("format", list(MEDIA_TYPES))
def test_no_rows(format: str) -> None:
    """A file without rows is one that can be read, and has its columns where the format tells them."""
    made = written(format, MIXED)
    if format in ("parquet", "arrow"):
        assert table(MIXED).num_rows == 0 and table(MIXED).column_names == ["n", "t", "l", "b", "q"]
    else:
        assert made == {"json": b"[]\n", "ndjson": b"", "csv": b"n,t,l,b,q\r\n"}[format]
    assert written("csv", MIXED, header=False) == b""


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "|cmd"])
def test_what_a_spreadsheet_would_carry_out_stays_what_it_is(text: str) -> None:
    """CSV is for programs: a value is told as it is, and never with something put before it (docs/adr/0023)."""
    [line] = csv.reader(io.StringIO(written("csv", [Column("a", "string")], [(text,)], header=False).decode(), newline=""))
    assert line == [text]


@settings(deadline=None)
@given(st.lists(st.tuples(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), st.text("ab,\"\r\n'"))))
def test_whatever_is_in_it(found: list[tuple[str, str]]) -> None:
    """Any text comes back from each format as it was."""
    columns, rows = [Column("a", "string"), Column("b", "string")], list[Row](found)
    assert json.loads(written("json", columns, rows)) == [{"a": a, "b": b} for a, b in found]
    back = list(csv.reader(io.StringIO(written("csv", columns, rows, header=False).decode(), newline="")))
    assert back == [list(row) for row in found]
    assert table(columns, rows).to_pylist() == [{"a": a, "b": b} for a, b in found]


def test_row_groups_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A row group of Parquet ends after so many rows, or bytes: no more is held back."""
    monkeypatch.setattr(arrow, "GROUP_ROWS", 10)
    monkeypatch.setattr(arrow, "GROUP_BYTES", 4_000)
    columns = [Column("a", "string")]
    file = parquet.ParquetFile(io.BytesIO(written("parquet", columns, *([[("x",)] * 4] * 6))))
    assert [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)] == [12, 12]
    wide = parquet.ParquetFile(io.BytesIO(written("parquet", columns, *([[("x" * 5_000,)]] * 3))))
    assert wide.num_row_groups == 3


@pytest.mark.parametrize(
    ("name", "format"),
    [("csv", "csv"), ("text/csv; charset=utf-8", "csv"), ("application/x-parquet", "parquet"), ("application/fhir+json", "json"),
     ("Application/NDJSON", "ndjson"), ("application/vnd.apache.arrow.stream", "arrow"), ("xml", None), ("", None)],
)  # fmt: skip
def test_names_of_formats(name: str, format: str | None) -> None:
    """By short names and media types."""
    assert format_of(name) == format
