"""Limits of searches in Elasticsearch: one on time for all that a search asks, and what happens where Elasticsearch has its own."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar
from urllib.parse import urlsplit

import pytest
from contracts.elastic_harness import Elastic
from contracts.index_harness import PARAMETERS, parameter, put
from indexing.serving import SlowWay

from resources.store import Key, StoreUnavailable
from search.index import Included, Result, SearchIndex, TooCostly
from search.indexes.elastic import connection as connecting
from search.indexes.elastic import include, pages
from search.indexes.elastic.connection import Connection, Server
from search.indexes.elastic.index import ElasticIndex
from search.indexes.elastic.indices import Indices
from search.parse import parse
from search.query import Include, Query
from search.values import ReferenceValue

T = TypeVar("T")
OBSERVATIONS = 20


@pytest.fixture(scope="module", autouse=True)
def there(elastic: Elastic) -> None:
    """Observations of one patient each, and a Provenance of one of them."""
    made = [put(0, "Provenance", "1", {"target": [ReferenceValue("Patient/1")]})]
    for n in range(1, OBSERVATIONS + 1):
        made.append(put(2 * n, "Patient", f"{n}", {}, instant=n))
        made.append(put(2 * n + 1, "Observation", f"{n}", {"subject": [ReferenceValue(f"Patient/{n}")]}, instant=n))
    elastic.update(made)


def asked(text: str, *, count: int = 100) -> Query:
    type, _, rest = text.partition("?")
    return parse(type, rest, parameters=PARAMETERS, base_url="http://here/fhir", default_count=count, max_count=20_000).query


def run(index: SearchIndex, work: Callable[[SearchIndex], Awaitable[T]]) -> T:
    async def within() -> T:
        await index.open()
        try:
            return await work(index)
        finally:
            await index.close()

    return asyncio.run(within())


class Counted(Connection):
    """Counts what is asked."""

    number = 0

    async def call(self, *args: Any, **options: Any) -> bytes:
        self.number += 1
        return await super().call(*args, **options)


def slowly(elastic: Elastic, text: str, *, delay: float, limit: float) -> tuple[list[str], int]:
    """What a search finds whose answers each take some seconds more; and how many answers it waited for."""
    with SlowWay(urlsplit(elastic.server.url).port or 0) as way:
        counted = Counted(Server(way.url))
        index = ElasticIndex(counted, elastic.layout, limit=limit)
        way.delay = delay

        async def search(index: SearchIndex) -> tuple[list[str], int]:
            try:
                return [key.id for key in (await index.search(asked(text))).keys], counted.number
            except TooCostly as refused:
                return [str(refused)], counted.number

        return run(index, search)


def test_a_chain_by_a_reference_to_any_type_is_looked_up_in_one_request(elastic: Elastic) -> None:
    """It is one chain for each of 146 types: what their answers take does not add up."""
    assert slowly(elastic, "Provenance?target._id=1", delay=0.2, limit=60) == (["1"], 2)


def test_all_that_a_search_asks_counts_towards_its_limit_on_time(elastic: Elastic, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a second for each answer, a search of several looks is refused after its limit, and not after the limit of each of them."""
    text = "Observation?subject:Patient.link:Patient.link:Patient._has:Observation:subject:_id=1"
    found, whole = slowly(elastic, text, delay=0.0, limit=60)
    assert (found, whole) == ([], 4)
    monkeypatch.setattr(connecting, "_GRACE", 60.0)
    found, answers = slowly(elastic, text, delay=0.8, limit=1.5)
    assert found[0].startswith("The search took more than 1.5 seconds") and answers <= 2


def test_searches_that_lead_too_many_ways_are_refused(elastic: Elastic) -> None:
    """The answer says how many ways there are, and how to have fewer."""
    text = "Provenance?" + "&".join(f"target._id={n}" for n in range(12))
    with pytest.raises(TooCostly, match=r"references in 1,\d{3} ways, at most 1,000 are possible: name the types"):
        run(elastic.index, lambda index: index.search(asked(text)))


def test_pages_larger_than_an_answer_of_elasticsearch(elastic: Elastic) -> None:
    """`_count` may be as large as Elasticsearch's own limit, and larger."""

    def of(count: int) -> Result:
        return run(elastic.index, lambda index: index.search(asked(f"Patient?_count={count}")))

    for count in (10_000, 20_000):
        page = of(count)
        assert (len(page.keys), page.cursor, page.total) == (OBSERVATIONS, None, OBSERVATIONS)


@pytest.mark.parametrize("count", [6, 7, 8, 13, 14, 15, 19, 20, 21])
def test_what_an_answer_cannot_hold_is_asked_for_after_it(elastic: Elastic, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """With seven documents to an answer, pages and includes are those that they would be with any number."""
    whole = run(elastic.index, lambda index: index.search(asked("Observation?_sort=_lastUpdated", count=count)))
    monkeypatch.setattr(pages, "PAGE", 7)
    monkeypatch.setattr(include, "PAGE", 7)
    page = run(elastic.index, lambda index: index.search(asked("Observation?_sort=_lastUpdated", count=count)))
    assert page == whole and (page.cursor is None) == (count >= OBSERVATIONS)
    patients = [Key("Patient", f"{n}") for n in range(1, OBSERVATIONS + 1)]
    rule = Include("Observation", (parameter("Observation", "subject"),), None, reverse=True)

    def included(limit: int) -> Included:
        return run(elastic.index, lambda index: index.include(patients, [rule], limit=limit))

    for limit in (count, OBSERVATIONS):
        found = included(limit)
        assert (len(found.keys), found.truncated) == (min(limit, OBSERVATIONS), limit < OBSERVATIONS)


def test_what_elasticsearch_cannot_answer_now_is_unavailable(elastic: Elastic) -> None:
    """A block on an index is told by every kind of search as what it is: not there now, no mistake and not too costly."""

    async def blocked(index: SearchIndex) -> None:
        connection = Connection(elastic.server)
        connection.open()
        name = (await Indices(connection, elastic.layout).states())["Patient"].live
        for value in (b"true", b"false"):
            await connection.call("PUT", f"/{name}/_settings", b'{"index.blocks.read":%b}' % value)
            if value == b"true":
                rule = Include("Observation", (parameter("Observation", "subject"),), None)
                for work in (
                    index.search(asked("Patient")),
                    index.search(asked("Observation?subject:Patient._id=1")),
                    index.search_in_turn([asked("Observation"), asked("Patient")], count=1),
                    index.include([Key("Observation", "1")], [rule], limit=10),
                    index.allowed([Key("Patient", "1")]),
                ):
                    with pytest.raises(StoreUnavailable, match="cluster_block_exception"):
                        await work
        await connection.close()

    run(elastic.index, blocked)
