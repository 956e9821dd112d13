"""The order of a search without `_sort`: by the date of the type, the latest first."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
from contracts.elastic_harness import Elastic
from contracts.index_harness import PARAMETERS, Database, Memory, put

from resources.stores.participant import Applied
from search.index import SearchIndex
from search.query import Query
from search.values import DateValue

PEOPLE = ("Patient", "Person", "RelatedPerson")
DAYS = {"a": 2, "b": None, "c": 3, "d": 1}
"""Id -> the day of its date, if it has one."""

_DAY = 86_400_000_000


def documents(type: str, first: int) -> list[Applied]:
    """Four documents of the type, three of which have the date that it is ordered by."""
    code = PARAMETERS.order_date(type)
    made = []
    for row, (id, day) in enumerate(DAYS.items(), first):
        dates = {code: [DateValue(day * _DAY, day * _DAY + _DAY)]} if code and day else {}
        made.append(put(row, type, id, dates))
    return made


def found(index: SearchIndex, types: Sequence[str]) -> dict[str, str]:
    """Type -> the ids that a search without `_sort` answers, in its order."""

    async def search() -> dict[str, str]:
        await index.open()
        answers = {type: await index.search(Query(type)) for type in types}
        await index.close()
        return {type: "".join(key.id for key in answer.keys) for type, answer in answers.items()}

    return asyncio.run(search())


def test_people_are_ordered_by_birth_date() -> None:
    """Types without a clinical date are ordered by the birth date, where they have one; no others are."""
    assert [type for type in PARAMETERS.types if PARAMETERS.order_date(type) != PARAMETERS.clinical_date(type)] == [*PEOPLE]
    assert {PARAMETERS.order_date(type) for type in PEOPLE} == {"birthdate"}


@pytest.mark.parametrize("kind", [Database, Memory])
def test_every_type_has_one_order(kind: type[Database | Memory], tmp_path: Path) -> None:
    """Each type's documents come by the same date on each index, the latest first, those without it last."""
    made = kind(tmp_path / "a.sqlite") if kind is Database else Memory()
    numbered = ((type, 1 + 10 * place) for place, type in enumerate(PARAMETERS.types))
    made.update([change for type, first in numbered for change in documents(type, first)])
    dated = [type for type in PARAMETERS.types if PARAMETERS.order_date(type)]
    answers = found(made.index, dated)
    made.close()
    assert len(dated) > 90 and set(answers.values()) == {"cadb"}


@pytest.mark.parametrize("type", [*PEOPLE, "Observation", "MedicationRequest", "ServiceRequest", "Slot"])
def test_elasticsearch_has_the_same_order(elastic: Elastic, type: str) -> None:
    """So it is on Elasticsearch, by what is sent there of each document."""
    elastic.fill(documents(type, 1))
    assert found(elastic.index, [type]) == {type: "cadb"}
