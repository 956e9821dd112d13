"""An engine's answers to a search, compared with what the oracle says."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

from population.asking import Search
from population.oracle import Oracle

from fhir_server.context import Context
from fhir_server.searching.codes import with_codes
from resources.outcomes import FhirError
from resources.store import Key
from search.index import Preparing, Result, TooCostly
from search.match import Document
from search.query import Include, Query
from search.text.scoring import SCORE

WHOLE = 12
"""Most pages of a search that are read; of one with more, the first ones only."""

SHOWN = 5
"""Most documents that a disagreement names."""


class Refused(Exception):
    """The search cannot be asked, or costs more than the engine allows; the text says why."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """How many documents match a search, and in what the engine's answer to it is wrong (None: in nothing)."""

    search: Search
    matches: int
    wrong: str | None


async def judged(ctx: Context, oracle: Oracle, search: Search) -> Verdict:
    """The verdict on a search; where the answer is wrong, on that with the fewest parameters that shows it. Raises Refused."""
    verdict = await compare(ctx, oracle, search)
    smaller = verdict.wrong is not None
    while smaller:
        smaller = False
        for less in verdict.search.without():
            try:
                shown = await compare(ctx, oracle, less)
            except Refused:
                continue
            if shown.wrong is not None:
                verdict, smaller = shown, True
                break
    return verdict


async def compare(ctx: Context, oracle: Oracle, search: Search) -> Verdict:
    """The verdict on this very search. Raises Refused."""
    try:
        parsed = search.read(ctx.parameters)
        query = await with_codes(ctx, parsed.query)
        total = await _searched(ctx, replace(query, count=0, total="accurate"))
        pages = await _pages(ctx, query)
    except (FhirError, TooCostly) as refusal:
        raise Refused(str(refusal)) from None
    expected = oracle.found(query)
    keys = [key for page in pages for key in page.keys]
    wrong = _wrong_matches(expected, keys, whole=pages[-1].cursor is None) or _wrong_totals(query, len(expected), total, pages)
    if wrong is None and not any(key.parameter.code == SCORE for key in query.sort):
        wrong = _wrong_order(oracle, query, expected, keys)
    wrong = wrong or await _wrong_includes(ctx, oracle, query, parsed.includes, pages[0].keys)
    return Verdict(search, len(expected), wrong)


async def _pages(ctx: Context, query: Query) -> list[Result]:
    pages = [await _searched(ctx, query)]
    while pages[-1].cursor is not None and len(pages) < WHOLE:
        pages.append(await _searched(ctx, replace(query, cursor=pages[-1].cursor, total="none")))
    return pages


async def _searched(ctx: Context, query: Query) -> Result:
    """The answer, once what it needs has been made."""
    while True:
        try:
            return await ctx.index.search(query)
        except Preparing:
            await asyncio.sleep(0.2)


def _wrong_matches(expected: Sequence[Document], keys: Sequence[Key], *, whole: bool) -> str | None:
    names, wanted = [f"{key.type}/{key.id}" for key in keys], {document.name for document in expected}
    if len(set(names)) < len(names):
        return f"{len(names) - len(set(names))} of {len(names)} matches come more than once"
    if surplus := [name for name in names if name not in wanted]:
        return f"{len(surplus)} found that do not match: {', '.join(surplus[:SHOWN])}; {len(wanted)} are expected"
    missing = wanted.difference(names)
    if whole and missing:
        return f"{len(missing)} of {len(wanted)} missing: {', '.join(sorted(missing)[:SHOWN])}"
    return None


def _wrong_totals(query: Query, expected: int, counted: Result, pages: Sequence[Result]) -> str | None:
    if (counted.total, counted.total_exact, counted.keys) != (expected, True, []):
        return f"counted {counted.total} (exact: {counted.total_exact}) instead of {expected}"
    first = pages[0]
    if query.total == "none":
        return None if first.total is None else f"the total is {first.total}, where none was asked for"
    if query.total == "cheap" and first.total is None and first.total_exact:
        return None
    low = first.total is not None and first.total <= expected and query.total == "estimate"
    if first.total != expected and (first.total_exact or not low):
        return f"the first page's total is {first.total} (exact: {first.total_exact}) instead of {expected}"
    short = [number for number, page in enumerate(pages[:-1]) if len(page.keys) != query.count]
    return f"page {short[0] + 1} has {len(pages[short[0]].keys)} matches instead of {query.count}" if short else None


def _wrong_order(oracle: Oracle, query: Query, expected: Sequence[Document], keys: Sequence[Key]) -> str | None:
    for number, (key, document) in enumerate(zip(keys, expected, strict=False)):
        name = f"{key.type}/{key.id}"
        mine, wanted = oracle.place(query, oracle.named[name]), oracle.place(query, document)
        if mine != wanted:
            return f"match {number + 1} is {name} at {mine}, where one at {wanted} is expected, such as {document.name}"
    return None


async def _wrong_includes(ctx: Context, oracle: Oracle, query: Query, asked: Sequence[Include], keys: Sequence[Key]) -> str | None:
    if not asked or not keys:
        return None
    wanted = oracle.included(keys, asked, query.allowed)
    answer = await ctx.index.include(keys, asked, limit=1000, allowed=query.allowed)
    found = [f"{key.type}/{key.id}" for key in answer.keys]
    if len(set(found)) < len(found):
        return f"included more than once: {len(found) - len(set(found))}"
    if surplus := set(found) - wanted:
        return f"included but not referred to: {', '.join(sorted(surplus)[:SHOWN])}"
    if answer.truncated != (len(wanted) > 1000):
        return f"{len(wanted)} are to be included; told that some are left out: {answer.truncated}"
    missing = wanted.difference(found)
    return f"not included: {', '.join(sorted(missing)[:SHOWN])}" if missing and not answer.truncated else None
