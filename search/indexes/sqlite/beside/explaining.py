"""How a search was done, in sentences: what drove it, what was counted and tested, how long it took."""

import time
from collections import Counter
from dataclasses import replace

import apsw

from resources.outcomes import counted
from search.index import Result
from search.indexes.sqlite.compile import compile_access, compile_condition
from search.indexes.sqlite.links import Linker
from search.indexes.sqlite.order import make_order
from search.indexes.sqlite.pages import search
from search.indexes.sqlite.plan import Plan, count_up_to, make_plan, sources
from search.indexes.sqlite.predicates import NEVER, Predicate
from search.indexes.sqlite.reader import Reader
from search.indexes.sqlite.schema import Book, Codebook
from search.query import Query, named


def explained_search(reader: Reader, codes: Codebook, query: Query) -> Result:
    """What `search.indexes.sqlite.pages.search` answers, and how it came to it. Inside a transaction of the reader."""
    work: Counter[str] = Counter()

    def done(event: dict[str, object]) -> None:
        status = event["stmt_status"]
        assert isinstance(status, dict)
        work.update(statements=1, steps=status["SQLITE_STMTSTATUS_VM_STEP"], scanned=status["SQLITE_STMTSTATUS_FULLSCAN_STEP"])

    reader.connection.trace_v2(apsw.SQLITE_TRACE_PROFILE, done, id=explained_search)
    try:
        begun = time.perf_counter()
        found = search(reader, codes, query)
        took = (time.perf_counter() - begun) * 1000
    finally:
        reader.connection.trace_v2(0, None, id=explained_search)
    if query.allowed is not None:  # numbers of rows would tell of documents that the caller may not see
        return replace(
            found, explained=(f"Embedded index on SQLite: {took:.2f} ms", "What drove it is not told where access is limited")
        )
    scanned = f"{counted(work['scanned'], 'row')} scanned" if work["scanned"] else "no table scanned"
    cost = f"{took:.2f} ms, {counted(work['statements'], 'statement')}, {counted(work['steps'], 'step')} of SQLite's machine, {scanned}"
    return replace(found, explained=(f"Embedded index on SQLite: {cost}", *_plan(reader, codes, query)))


def _plan(reader: Reader, codes: Codebook, query: Query) -> list[str]:
    book, link = codes.books[query.type], Linker(reader, codes, query.allowed)
    parts = [(named(clause), compile_condition(clause, book, reader.any_of, link)) for clause in query.clauses]
    access = compile_access(query.compartments, query.allowed, book, reader.any_of)
    parts += [("the compartment or what access allows", predicate) for predicate in access]
    never = [name for name, predicate in parts if predicate is NEVER]
    if never:
        return [f"Nothing can match: {never[0]}"]
    held = [(name, predicate) for name, predicate in parts if predicate is not None]
    plan = make_plan(reader, book, [predicate for _, predicate in held], counted=True)
    driver = next((name for name, predicate in held if predicate is plan.driver), "")
    lines = [f"{name}: {_rows(reader, predicate)}" for name, predicate in held]
    lines.append(f"Driven by {driver or f'all {query.type} documents in the order of their dates'}{_read(reader, plan)}")
    tested = [name for name, _ in held if name != driver]
    if tested:
        lines.append(f"Tested on each row: {', '.join(tested)}")
    return [*lines, _order(reader, book, query, plan)]


def _rows(reader: Reader, predicate: Predicate) -> str:
    """How many rows could drive, as far as it pays to count them."""
    if not predicate.streams:
        return "a test only"
    most, total = reader.limits.gather, 0
    for each in sources(predicate.streams):
        total += count_up_to(reader, each, most + 1 - total)
        if total > most:
            return f"more than {most} rows"
    return counted(total, "row")


def _read(reader: Reader, plan: Plan) -> str:
    return f", {counted(plan.rows, 'row')} at most" if plan.rows is not None else ", read until the page is full"


def _order(reader: Reader, book: Book, query: Query, plan: Plan) -> str:
    order = make_order(query.sort, book, reader)
    if plan.rows is not None and plan.rows <= reader.limits.gather:
        return "All matches were gathered, sorted and counted at once"
    if order.by_date:
        return "Matches were read in the order of their dates"
    return "Matches were read in the order of the sort key" if order.walked else "All matches were gathered and sorted"
