"""Elasticsearch beside the index in memory, in what takes several of its answers: groups of codes, scores with chained keys."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from contracts.elastic_harness import Elastic
from contracts.index_harness import EXTRACTOR, PARAMETERS, Memory, all_pages

from resources.stores.participant import Applied
from search.index import Latest, SearchIndex, TooCostly
from search.indexes.elastic.beside import latest as grouping
from search.parse import parse
from search.query import Query


def asked(text: str) -> Query:
    type, _, query = text.partition("?")
    return parse(type, query, parameters=PARAMETERS, base_url="http://here/fhir", default_count=100).query


def observed(number: int, patient: int, day: int, *codes: str) -> Applied:
    document: dict[str, Any] = {
        "id": f"{number}",
        "code": {"coding": [{"system": "http://s", "code": code} for code in codes]} if codes else {"text": "x"},
        "subject": {"reference": f"Patient/{patient}"},
        "effectiveDateTime": f"2026-01-{day:02}",
    }
    return Applied(number, "Observation", f"{number}", number, EXTRACTOR.extract("Observation", document), True, True)


def patient(number: int, told: str, practitioner: str) -> Applied:
    document = {
        "id": f"{number}",
        "text": {"status": "generated", "div": f"<div>{told}</div>"},
        "generalPractitioner": [{"reference": f"Practitioner/{practitioner}"}],
    }
    return Applied(100 + number, "Patient", f"{number}", number, EXTRACTOR.extract("Patient", document), True, True)


MADE = [
    *(
        observed(1, 1, 1, "a"), observed(2, 1, 2, "b"), observed(3, 1, 3, "a", "c"), observed(4, 2, 4, "c"), observed(5, 1, 5),
        observed(6, 2, 6, "d"), observed(7, 1, 7, "d"), observed(8, 2, 7, "d"), observed(9, 1, 9, "b"), observed(10, 2, 9),
    ),
    *(patient(1, "pain pain pain", "x"), patient(2, "pain and words", "y")),
    *(patient(3, "pain pain other words", "x"), patient(4, "none", "x")),
    *(
        Applied(200 + n, "Practitioner", id, n, EXTRACTOR.extract("Practitioner", {"id": id, "name": [{"family": name}]}), True, True)
        for n, (id, name) in enumerate((("x", "Young"), ("y", "Adams")))
    ),
]  # fmt: skip


@pytest.fixture(scope="module")
def both() -> Iterator[tuple[Memory, Elastic]]:
    """The same documents in both."""
    memory, elastic = Memory(), Elastic()
    for each in (memory, elastic):
        each.update(MADE)
    yield memory, elastic
    elastic.close()


@pytest.mark.parametrize("most", [1, 2, 5])
@pytest.mark.parametrize("text", ["Observation?", "Observation?patient=1", "Observation?code:not=d", "Observation?code=none"])
def test_latest(both: tuple[Memory, Elastic], monkeypatch: pytest.MonkeyPatch, text: str, most: int) -> None:
    """The latest of each group are the same, however many pages Elasticsearch gives them on."""
    monkeypatch.setattr(grouping, "_PAGE", 3)

    async def grouped(index: SearchIndex) -> tuple[list[list[str]], list[str]]:
        await index.open()
        found: Latest = await index.latest(asked(text), PARAMETERS.of("Observation")["code"], most)
        await index.close()
        return [sorted(key.id for key in group) for group in found.groups], [key.id for key in found.apart]

    (expected, apart), (groups, others) = (asyncio.run(grouped(each.index)) for each in both)
    assert sorted(groups) == sorted(expected)
    assert others == apart


def test_too_many_to_group(both: tuple[Memory, Elastic], monkeypatch: pytest.MonkeyPatch) -> None:
    """More than can be grouped are refused, not cut."""
    monkeypatch.setattr(grouping, "MOST", 9)

    async def group() -> Latest:
        await both[1].index.open()
        try:
            return await both[1].index.latest(asked("Observation?"), PARAMETERS.of("Observation")["code"], 1)
        finally:
            await both[1].index.close()

    with pytest.raises(TooCostly, match="10 documents would have to be grouped, 9 at most"):
        asyncio.run(group())


@pytest.mark.parametrize(
    ("sort", "ids"),
    [
        ("general-practitioner:Practitioner.name,_score", "2 1 3"),
        ("general-practitioner:Practitioner.name,-_score", "2 3 1"),
        ("-general-practitioner:Practitioner.name,_score", "1 3 2"),
        ("_score,general-practitioner:Practitioner.name", "1 3 2"),
    ],
)
def test_scores_beside_chained_keys(both: tuple[Memory, Elastic], sort: str, ids: str) -> None:
    """Documents are sorted by words and by what they refer to at once, on one page as on pages of one."""

    async def found(index: SearchIndex) -> None:
        await index.open()
        query = asked(f"Patient?_text=pain&_sort={sort}")
        result = await index.search(query)
        pages = await all_pages(index, replace(query, count=1))
        await index.close()
        assert [key.id for key in result.keys] == ids.split()
        assert [key.id for page in pages for key in page.keys] == ids.split()
        assert all(0 < (score or 0) < 1 for score in result.scores)

    for each in both:
        asyncio.run(found(each.index))
