"""Rows of one document after another, so that others have their turn and memory stays flat, whatever a view makes of one."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Final, NamedTuple

from conformance.fhirpath.budget import TooCostly, size
from fhir_server.views.compiler import MOST_STEPS, View
from fhir_server.views.rows import Row
from resources.outcomes import error

SOON: Final = 20_000
"""Steps (each a microsecond, about) that are taken at once."""

MOST_TEXT: Final = 16_000_000
"""Characters of the rows of one document beyond twice its own length."""

HEAVY: Final = 4_000_000
"""Characters of rows that are held before they are handed on."""

_CELL, _NODE = 8, 64
"""What a cell counts for beside its text, and a node of JSON in one, in characters."""

_apart: Final = ThreadPoolExecutor(1, thread_name_prefix="views")
"""One document at a time: whoever asks for much waits for those who asked before."""


class Made(NamedTuple):
    """The rows of a document, and how much they are, in characters about."""

    rows: list[Row]
    weight: int


async def rows_of(view: View, body: bytes) -> Made:
    """The rows of a document's bytes. What takes longer than a moment is made in a thread: the loop goes on, and has half of the
    processor. Raises FhirError 422, also for rows that hold too much text."""
    try:
        return _made(view, body, SOON)
    except TooCostly:
        return await asyncio.get_running_loop().run_in_executor(_apart, _made, view, body, MOST_STEPS)


def _made(view: View, body: bytes, most: int) -> Made:
    rows = view.read(body, most)
    weight = _weight(rows)
    if weight > MOST_TEXT + 2 * len(body):
        which = f"{view.resource}/{view.decode(body).get('id', '')}"
        text = f"The view cannot be made of {which}: its rows hold more than {MOST_TEXT} characters"
        raise error(422, "too-costly", text, "ViewDefinition.select")
    return Made(rows, weight)


def _weight(rows: list[Row]) -> int:
    total = 0
    for row in rows:
        total += _CELL * len(row)
        for value in row:
            kind = type(value)
            if kind is str:
                total += len(value)
            elif kind is list or kind is dict:
                total += _NODE * size(value)
    return total
