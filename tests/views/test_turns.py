"""Rows of long documents: others have their turn while they are made, and not all are in memory at once."""

import asyncio
from typing import Any

import pytest

from fhir_server.views.compiler import compile_view
from fhir_server.views.making import rows_of
from fhir_server.views.running import Run
from resources.documents import encode
from resources.outcomes import FhirError

LETTERS = "%resource.name.family.first().toChars()"
DIV = '<div xmlns="http://www.w3.org/1999/xhtml">' + "a" * 1_000_000 + "</div>"


def view(**select: Any) -> dict[str, Any]:
    return {"resourceType": "ViewDefinition", "resource": "Patient", "select": [select]}


def patient(names: int = 1, family: str = "f") -> bytes:
    text = {"status": "generated", "div": DIV}
    return encode({"resourceType": "Patient", "id": "p1", "text": text, "name": [{"family": family}] * names})


def test_others_have_their_turn_while_a_document_takes_long() -> None:
    """While rows of one document are made for a good part of a second, the loop goes round many times."""
    path = f"{LETTERS}.select({LETTERS}.select(1).count()).count()"
    compiled, body = compile_view(view(column=[{"name": "x", "path": path}])), patient(family="x" * 500)

    async def made() -> int:
        task, turns = asyncio.create_task(rows_of(compiled, body)), 0
        while not task.done():
            await asyncio.sleep(0.001)
            turns += 1
        assert (await task).rows == [(500,)]
        return turns

    assert asyncio.run(made()) > 5


def test_the_text_of_rows_is_bounded() -> None:
    """A long text that would be in a thousand rows is refused, with the document's name; in one row it is no trouble."""
    columns = [{"name": "d", "path": "%resource.text.`div`"}]
    with pytest.raises(FhirError, match="of Patient/p1: its rows hold more than 16000000 characters"):
        asyncio.run(rows_of(compile_view(view(forEach="name", column=columns)), patient(1_000)))
    assert asyncio.run(rows_of(compile_view(view(column=columns)), patient())).rows == [(DIV,)]


def test_rows_are_handed_on_by_how_much_they_are() -> None:
    """Of a hundred documents with a text of a megabyte each no more than a few are held at a time."""
    compiled = compile_view(view(column=[{"name": "d", "path": "text.`div`"}]))

    async def lists() -> list[int]:
        run = Run(compiled, None, resources=[patient()] * 100)
        return [len(rows) async for rows in run.rows()]

    found = asyncio.run(lists())
    assert (sum(found), max(found) <= 5) == (100, True)
