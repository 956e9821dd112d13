"""The values of added parameters as packed rows, which `packed` does not have: for sorting, following and including."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from search.indexes.sqlite.reader import Reader
from search.indexes.sqlite.rows import Row, pack_rows, unpack_rows
from search.indexes.sqlite.schema import Book, Codebook, Field
from search.parameter import SearchParameter

Own = Mapping[int, list[Row]]
"""Row number of a document -> its packed rows of added parameters."""


def fields_of(parameters: Iterable[SearchParameter], codes: Codebook) -> list[Field]:
    """The fields of those parameters that were added."""
    return [codes.field(parameter) for parameter in parameters if parameter.custom]


def own_rows(reader: Reader, fields: Sequence[Field], rids: Sequence[int]) -> Own:
    """The packed rows that documents have of these fields."""
    found: dict[int, list[Row]] = {}
    if not fields or not rids:
        return found
    marks, pids = ", ".join("?" * len(rids)), ", ".join("?" * len(fields))
    statement = f"SELECT rid, rows FROM cpacked WHERE rid IN ({marks}) AND pid IN ({pids})"
    for rid, blob in reader.rows(statement, [*rids, *(field.pid for field in fields)]):
        found.setdefault(rid, []).extend(unpack_rows(blob)[1])
    return found


def packed(rows: Sequence[Row]) -> bytes:
    """The blob of packed rows."""
    return pack_rows(0, rows)


def led_to(field: Field, inside: str, args: Sequence[Any], target: Book) -> tuple[str, tuple[Any, ...]]:
    """(test of row p, its arguments): an added reference leads to a document of the target type, called e, for which `inside` holds."""
    test = f"m.rid = p.rid AND m.pid = ? AND e.type = ?{inside}"
    return f"EXISTS (SELECT 1 FROM crow m CROSS JOIN item e ON e.h = m.v WHERE {test})", (field.pid, target.number, *args)
