"""The comparison of engine and oracle sees every kind of wrong answer."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from population.asking import Search
from population.comparing import compare, judged
from population.loading import oracle_of

from fhir_server.app import open_context
from fhir_server.config import Settings
from fhir_server.context import Context
from resources.documents import draft
from resources.store import ANY, Change, Key
from search.index import Included, Result
from search.indexes.memory import MemoryIndex
from search.query import Compartment, Grants, Include, Query

Alter = Callable[[Query, Result], Result]

SEARCH = Search("Patient", (("gender", "male"), ("_sort", "birthdate"), ("_count", "2"), ("_include", "Patient:organization")))


class Wrong(MemoryIndex):
    """An index whose answers are changed before they are given."""

    def __init__(self, right: MemoryIndex, answer: Alter, included: Callable[[Included], Included]) -> None:
        self._right, self._answer, self._include = right, answer, included

    async def search(self, query: Query) -> Result:
        return self._answer(query, await self._right.search(query))

    async def include(
        self,
        keys: Sequence[Key],
        includes: Sequence[Include],
        *,
        limit: int,
        compartments: Sequence[Compartment] = (),
        allowed: Grants | None = None,
    ) -> Included:
        return self._include(await self._right.include(keys, includes, limit=limit, compartments=compartments, allowed=allowed))


def _at_end(change: Callable[[Result], Result]) -> Alter:
    """The last page changed."""
    return lambda query, result: change(result) if query.count and result.cursor is None else result


def _on_first(change: Callable[[Result], Result]) -> Alter:
    return lambda query, result: change(result) if query.count and query.cursor is None else result


def _as_it_is(query: Query, result: Result) -> Result:
    return result


ANSWERS: list[tuple[Alter, str]] = [
    (_as_it_is, ""),
    (_at_end(lambda r: replace(r, keys=r.keys[:-1])), "1 of 5 missing: Patient/5"),
    (_at_end(lambda r: replace(r, keys=[*r.keys, Key("Patient", "6")])), "1 found that do not match: Patient/6; 5 are expected"),
    (_at_end(lambda r: replace(r, keys=[*r.keys, Key("Patient", "1")])), "1 of 6 matches come more than once"),
    (_on_first(lambda r: replace(r, keys=r.keys[::-1])), "match 1 is Patient/2 at"),
    (_on_first(lambda r: replace(r, total=7)), "the first page's total is 7 (exact: True) instead of 5"),
    (lambda query, r: r if query.count else replace(r, total=4), "counted 4 (exact: True) instead of 5"),
]


def run(answer: Alter, included: Callable[[Included], Included], search: Search, *, cut: bool = False) -> tuple[str, Search]:
    """What is said of the answers of such an index to a search of six people, and the search that shows it."""

    async def within() -> tuple[str, Search]:
        async with open_context(Settings(store_url="memory://", auth="off")) as ctx:
            await _fill(ctx)
            assert isinstance(ctx.index, MemoryIndex)
            wrong = replace(ctx, index=Wrong(ctx.index, answer, included))
            verdict = await (judged if cut else compare)(wrong, await oracle_of(ctx), search)
            return verdict.wrong or "", verdict.search

    return asyncio.run(within())


async def _fill(ctx: Context) -> None:
    made = [Change("Organization", "1", draft(b'{"resourceType":"Organization","name":"a"}', "1"), ANY)]
    for n in range(1, 7):
        gender = b"female" if n == 6 else b"male"
        body = b'{"resourceType":"Patient","gender":"%b","birthDate":"197%d-01-01",' % (gender, n)
        body += b'"managingOrganization":{"reference":"Organization/1"}}'
        made.append(Change("Patient", str(n), draft(body, str(n)), ANY))
    await ctx.store.commit(made)


@pytest.mark.parametrize(("answer", "said"), ANSWERS, ids=range(len(ANSWERS)))
def test_wrong_matches_are_seen(answer: Alter, said: str) -> None:
    """Matches that lack, are too many, come twice or out of order, and wrong totals; a right answer is not complained of."""
    found, _ = run(answer, lambda included: included, SEARCH)
    assert found.startswith(said) and bool(found) is bool(said)


@pytest.mark.parametrize(
    ("included", "said"),
    [
        (Included([]), "not included: Organization/1"),
        (Included([Key("Organization", "1"), Key("Patient", "6")]), "included but not referred to: Patient/6"),
        (Included([Key("Organization", "1")] * 2), "included more than once: 1"),
        (Included([Key("Organization", "1")], truncated=True), "1 are to be included; told that some are left out: True"),
    ],
)
def test_wrong_includes_are_seen(included: Included, said: str) -> None:
    """What lacks, is too much, comes twice, and a bound that was not reached."""
    assert run(_as_it_is, lambda _: included, SEARCH)[0] == said


def test_a_disagreement_is_shown_by_the_smallest_search() -> None:
    """What does not matter for it is taken away, one parameter after the other."""
    _, shown = run(_at_end(lambda r: replace(r, keys=r.keys[:-1])), lambda included: included, SEARCH, cut=True)
    assert shown == Search("Patient", ())
