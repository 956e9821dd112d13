"""What is sent to Elasticsearch: documents made of entries, as the lines of a bulk request."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

import msgspec

from search.indexes.elastic.fields import FIELDS, fields_of
from search.indexes.elastic.layout import Layout, kinds
from search.indexes.elastic.texts import text_fields
from search.parameter import ADDED_MARK
from search.parameters import Parameters
from search.values import Entry

_encode = msgspec.json.Encoder().encode


class Operation(NamedTuple):
    """One resource as the index is to have it: its Entry, or None where it is to be gone.

    `position` is the version's in the store: of two operations on a resource the one with the higher position wins, whichever comes first.
    `instant`: last update, microseconds since the epoch.
    """

    type: str
    id: str
    position: int
    instant: int
    entry: Entry | None


def document(parameters: Parameters, operation: Operation) -> dict[str, Any]:
    """The fields of a live resource."""
    entry = operation.entry
    assert entry is not None
    known = _kinds(parameters, operation.type)
    return {
        "id": operation.id,
        "updated": operation.instant,
        "position": operation.position,
        "date": entry.date,
        "patients": entry.patients,
        "present": list(entry.values),
        **text_fields(entry.text),
        "p": {code: FIELDS[known[code]](values) for code, values in entry.values.items() if values and code in known},
        **_added(entry),
    }


def _added(entry: Entry) -> dict[str, Any]:
    """The fields of parameters that were added to this server."""
    found = {code: fields_of(values) for code, values in entry.values.items() if ADDED_MARK in code and ":" not in code and values}
    return {"c": found} if found else {}


@cache
def _kinds(parameters: Parameters, type: str) -> Mapping[str, str]:
    return kinds(parameters, type)


def lines(layout: Layout, operation: Operation, index: str, *, newer_only: bool = False, version: int | None = None) -> bytes:
    """The operation's lines of a bulk request to `index`.

    `newer_only`: the version that the index has already is left as it is (it answers with a conflict), not written once more.
    `version`: a position that the store had reached before the operation's document was read, to count as its own: it wins over what
    somebody did to the index by hand, and loses to whatever was written to the store since.
    """
    doing = "delete" if operation.entry is None else "index"
    rule = "external" if newer_only else "external_gte"
    number = operation.position if version is None else version
    action = _encode({doing: {"_index": index, "_id": operation.id, "version": number, "version_type": rule}})
    if operation.entry is None:
        return action + b"\n"
    return action + b"\n" + _encode(document(layout.parameters, operation)) + b"\n"


def packets(parts: Sequence[bytes], most: int) -> Iterator[tuple[int, int, bytes]]:
    """Bodies of bulk requests, each of up to `most` bytes or a single operation: (number of the first part, of the one after the last,
    body)."""
    start, size = 0, 0
    for number, part in enumerate(parts):
        if number > start and size + len(part) > most:
            yield start, number, b"".join(parts[start:number])
            start, size = number, 0
        size += len(part)
    if start < len(parts):
        yield start, len(parts), b"".join(parts[start:])
