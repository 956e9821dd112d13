"""What only the SQLite index has: plans that never read a whole table, a limit on time, tables that are made anew when they must be."""

import asyncio
import re
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import apsw
import pytest
from contracts.filling import DOCUMENTS, applied, asked, rule
from contracts.index_harness import EXTRACTOR, PARAMETERS, TINY, Database

from resources.documents import encode
from resources.store import Key, StoreUnavailable
from search.index import Preparing, TooCostly
from search.indexes.sqlite.index import SqliteIndex
from search.indexes.sqlite.reader import Limits, Reader
from search.query import Compartment, Grant


@pytest.fixture(params=[Limits(), TINY], ids=["usual", "tiny"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A database with DOCUMENTS, at usual and at tiny limits."""
    made = Database(tmp_path / "a.sqlite", limits=request.param)
    made.update([applied(row, address, document) for row, (address, document) in enumerate(DOCUMENTS.items(), 1)])
    yield made
    made.close()


HOT = [
    ("Patient?identifier=urn:mrn|11", None),
    ("Patient?_id=1", None),
    ("Patient", None),
    ("Patient?name=mu&gender=female&birthdate=ge1970&birthdate=lt1990", None),
    ("Patient?_sort=family", None),
    ("Patient?_sort=-_lastUpdated", None),
    ("Observation?patient=1&date=ge2026-01-01&status=final", None),
    ("Observation?patient=1&code=a&_sort=-date", None),
    ("Observation?code=a,b,c&status=final", None),
    ("Observation?date=ge2026-01-02&_sort=date", None),
    ("Observation?value-quantity=gt70||kg&code=a", None),
    ("Observation?code=a&status:not=final", "1"),
    ("Encounter?date=ge2026&status:missing=false", "1"),
    ("Appointment", "2"),
]


Statements = list[tuple[str, Any]]


def recorded(monkeypatch: pytest.MonkeyPatch) -> Statements:
    """Every statement that is read from now on, with its values."""
    statements: Statements = []
    rows, number = Reader.rows, Reader.number

    def seen_rows(self: Reader, sql: str, args: Any = ()) -> list[Any]:
        statements.append((sql, args))
        return rows(self, sql, args)

    def seen_number(self: Reader, sql: str, args: Any = ()) -> int:
        statements.append((sql, args))
        return number(self, sql, args)

    monkeypatch.setattr(Reader, "rows", seen_rows)
    monkeypatch.setattr(Reader, "number", seen_number)
    return statements


@pytest.mark.parametrize(("text", "patient"), HOT)
def test_plans_never_scan(database: Database, monkeypatch: pytest.MonkeyPatch, text: str, patient: str | None) -> None:
    """Every statement of a usual search, first page, next page and count, finds its rows by keys, whichever way it is done."""
    statements = recorded(monkeypatch)

    async def run() -> None:
        await database.index.open()
        query = asked(text, count=1).with_filter(*([Compartment(patient)] if patient else []))
        page = await database.index.search(query)
        if page.cursor is not None:
            await database.index.search(asked(text, count=1, cursor=page.cursor))
        await database.index.search(replace(query, count=0))
        await database.index.close()

    asyncio.run(run())
    check_plans(database, statements)


def test_access_is_looked_up_not_scanned(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Searches in turn, grants, and what they leave of keys and includes find their rows by keys too."""
    statements = recorded(monkeypatch)
    allowed = (
        Grant("Observation", Compartment("1"), asked("Observation?code=a").clauses),
        Grant("Observation", Compartment("2"), asked("Observation?value-quantity=gt70").clauses),
        Grant("Patient", Compartment("1")),
    )

    async def run() -> None:
        await database.index.open()
        queries = [asked(text).with_filter(Compartment("1"), allowed=allowed) for text in ("Patient", "Observation", "Encounter")]
        page = await database.index.search_in_turn(queries, count=2)
        await database.index.search_in_turn(queries, count=2, cursor=page.cursor)
        keys = [Key("Observation", "1"), Key("Patient", "1")]
        assert await database.index.allowed(keys, allowed=allowed) == keys
        await database.index.include(
            keys, [rule("Observation:*"), rule("Observation:patient", reverse=True)], limit=9, allowed=allowed
        )
        await database.index.close()

    asyncio.run(run())
    check_plans(database, statements)


_HARMLESS = ("SCAN (", "SCAN CONSTANT", "SCAN t VIRTUAL", "SCAN q", "SCAN json_each")


def check_plans(database: Database, statements: Statements, sought: str = "nothing") -> None:
    """None of the statements reads a whole table or makes an index of its own, nor all rows of a parameter by an alias that is `sought`."""
    explaining = apsw.Connection(database.connection.filename)
    Reader(explaining)  # knows the functions
    for sql, args in statements:
        steps = [step for *_, step in explaining.execute(f"EXPLAIN QUERY PLAN {sql}", args)]
        for step in steps:
            if step == "SCAN p" and "CO-ROUTINE p" in steps:  # rows that another step found
                continue
            assert not step.startswith("SCAN") or step.startswith(_HARMLESS), (
                step,
                sql,
            )
            assert "AUTOMATIC" not in step, (step, sql)
            assert not re.fullmatch(rf"SEARCH ({sought}) USING PRIMARY KEY \(pid=\?\)", step), (step, sql)
    explaining.close()
    assert statements


@pytest.mark.parametrize(
    "text",
    [
        "Patient?_has:Observation:patient:code=a",
        "Patient?gender=female&_has:Observation:patient:_has:Provenance:target:_id=1",
        "Observation?patient.gender=female",
        "Observation?code:text=b",
    ],
)
def test_values_of_other_tables_are_sought_not_compared(database: Database, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """Where the value to look for stands in another table, each look-up seeks it: none goes through all rows of a parameter."""
    statements = recorded(monkeypatch)

    async def run() -> None:
        await database.index.open()
        await database.index.search(asked(text, count=1))
        await database.index.close()

    asyncio.run(run())
    check_plans(database, statements, r"idx|\bx\b|\bq\d|\bp\b")


@pytest.mark.parametrize("text", ["Observation?code=a&_total=none", "Observation?_sort=-date&_total=none", "Patient?_total=none"])
def test_pages_in_the_order_of_the_rows_are_not_sorted(tmp_path: Path, text: str) -> None:
    """A page that stands in the index in its order is read without sorting, so that its cost does not grow with the number of hits."""
    made = Database(tmp_path / "a.sqlite")
    made.update([applied(row, address, document) for row, (address, document) in enumerate(DOCUMENTS.items(), 1)])
    steps: list[str] = []

    async def run() -> None:
        await made.index.open()
        reader = made.index._reader
        assert reader is not None
        plain = reader.rows

        def seen(sql: str, args: Any = ()) -> list[Any]:
            steps.extend(step for (*_, step) in plain(f"EXPLAIN QUERY PLAN {sql}", args))
            return plain(sql, args)

        reader.rows = seen  # type: ignore[method-assign]
        page = await made.index.search(asked(text, count=1))
        await made.index.search(asked(text, count=1, cursor=page.cursor))
        await made.index.close()

    asyncio.run(run())
    made.close()
    assert steps
    assert not [step for step in steps if "TEMP B-TREE" in step]


@pytest.mark.parametrize("text", ["Provenance?target:Patient.active=true", "Provenance?target:Patient.family:contains=tw"])
@pytest.mark.parametrize("limits", [Limits(gather=2, scan=4, few=1, listed=10), TINY])
def test_a_document_may_have_more_rows_than_are_gathered(tmp_path: Path, text: str, limits: Limits) -> None:
    """However many rows of one document there are, the others are found too."""
    people = {f"Patient/{n}": {"active": True, "name": [{"family": f"{n}two{m}"} for m in range(5)]} for n in range(1, 6)}
    led = {"1": (1,), "2": (2,), "5": (5,), "all": range(1, 6)}
    told = {f"Provenance/{id}": {"target": [{"reference": f"Patient/{n}"} for n in numbers]} for id, numbers in led.items()}
    made = Database(tmp_path / "a.sqlite", limits=limits)
    made.update([applied(row, address, document) for row, (address, document) in enumerate({**people, **told}.items(), 1)])

    async def run() -> None:
        await made.index.open()
        for asked_for, ids in ((text, sorted(led)), ("Patient?family:contains=wo", list("12345"))):
            result = await made.index.search(asked(asked_for))
            assert (sorted(key.id for key in result.keys), result.total) == (ids, len(ids))
        await made.index.close()

    asyncio.run(run())
    made.close()


def test_a_long_search_goes_on_in_a_thread(tmp_path: Path) -> None:
    """What is not done within the budget is done by a thread, with the same answer."""
    made = Database(tmp_path / "a.sqlite", budget=-1.0)
    made.update([applied(row, address, document) for row, (address, document) in enumerate(DOCUMENTS.items(), 1)])
    made.update([applied(row, f"Patient/{row}", DOCUMENTS["Patient/1"]) for row in range(100, 4000)])

    async def run() -> None:
        await made.index.open()
        results = await asyncio.gather(*(made.index.search(asked("Patient?_sort=gender,-family&_count=3")) for _ in range(6)))
        assert {result.total for result in results} == {3903}
        included = await made.index.include([Key("Observation", "1")], [rule("Observation:subject")], limit=9)
        assert [key.id for key in included.keys] == ["1"]
        await made.index.close()

    asyncio.run(run())
    made.close()


def test_what_was_long_before_begins_in_a_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A search like one that was long does not hold up the loop again; when one like it proves short, the next is done there."""
    budget = 0.2
    made = Database(tmp_path / "a.sqlite", budget=budget)
    made.update([applied(row, f"Patient/{row}", DOCUMENTS["Patient/1"]) for row in range(100, 400)])
    where: list[bool] = []  # of each transaction: whether it is on the loop's thread
    transaction, lasting = Reader.transaction, False

    def seen(self: Reader, seconds: float) -> Any:
        here = threading.current_thread() is threading.main_thread()
        where.append(here)
        began = time.thread_time()
        while lasting and not here and time.thread_time() - began < 2 * budget:
            pass  # as much work as it takes
        return transaction(self, -1.0 if lasting and here else seconds)

    monkeypatch.setattr(Reader, "transaction", seen)

    async def run() -> None:
        nonlocal lasting
        await made.index.open()
        long, short = (asked(f"Patient?_id:not={id}&family={name}&_sort=gender,-family") for id, name in ((1, "m"), (2, "nobody")))
        begun = []
        for query in (long, long, short, short):
            lasting = query is long
            where.clear()
            await made.index.search(query)
            begun.append(where[0])
        await made.index.close()
        assert begun == [True, False, False, True]

    asyncio.run(run())
    made.close()


def test_a_search_that_takes_too_long_is_refused(tmp_path: Path) -> None:
    """At the limit a search ends with TooCostly, which says what helps; the next search is not harmed."""
    made = Database(tmp_path / "a.sqlite", budget=-1.0, limit=-1.0)
    made.update([applied(row, f"Patient/{row}", DOCUMENTS["Patient/1"]) for row in range(1, 4000)])

    async def run() -> None:
        await made.index.open()
        with pytest.raises(TooCostly, match="_total=none"):
            await made.index.search(asked("Patient?_sort=gender,-family"))
        assert len((await made.index.search(asked("Patient?_id=7"))).keys) == 1
        await made.index.close()

    asyncio.run(run())
    made.close()


@pytest.mark.parametrize("most", [1, 5])
def test_long_searches_wait_in_a_short_queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    """Where all threads are taken a long search waits for as long as it may take, or not at all behind very many, and is then to be
    sent again; when there is room it is answered."""
    made = Database(tmp_path / "a.sqlite", budget=-1.0, limit=1.5)
    made.update([applied(row, f"Patient/{row}", DOCUMENTS["Patient/1"]) for row in range(1, 40)])
    free, transaction = threading.Event(), Reader.transaction

    def held(self: Reader, seconds: float) -> Any:
        if threading.current_thread() is threading.main_thread():
            return transaction(self, seconds)
        free.wait(60)
        return transaction(self, 60.0)  # only those that wait are to run out of time

    monkeypatch.setattr(Reader, "transaction", held)
    monkeypatch.setattr("search.indexes.sqlite.index._MOST_WAITING", most)

    async def run() -> None:
        await made.index.open()
        query = asked("Patient?gender:not=x&_sort=gender,-family&_count=3")
        first = [asyncio.ensure_future(made.index.search(query)) for _ in range(4)]
        others = await asyncio.gather(*(made.index.search(query) for _ in range(2)), return_exceptions=True)
        assert [type(each) for each in others] == [StoreUnavailable] * 2
        free.set()
        assert {result.total for result in await asyncio.gather(*first)} == {39}
        assert (await made.index.search(query)).total == 39
        await made.index.close()

    asyncio.run(run())
    made.close()


@pytest.mark.parametrize("number", [95, 300])
@pytest.mark.parametrize(
    "term",
    [
        "combo-code-value-quantity=c{0}${1}||kg",
        "combo-code-value-quantity=a${1}||kg",
        "value-quantity={1}||kg",
        "value-quantity={1}",
    ],
)
def test_many_alternatives_are_never_a_fault(tmp_path: Path, term: str, number: int) -> None:
    """However many alternatives there are, a search is answered whatever way it takes: SQLite's limits on statements are its own."""
    name, _, value = term.partition("=")
    text = f"Observation?{name}={','.join(value.format(n % 2 and n, n) for n in range(number))}"

    async def run(limits: Limits) -> set[Key]:
        await made.index.open()
        found = set[Key]()
        for more in ("", "&_count=0&_total=accurate", "&_sort=date", "&status=final&date=gt2000"):
            found.update((await made.index.search(asked(text + more))).keys)
        await made.index.close()
        return found

    found = []
    for limits in (Limits(), TINY):
        made = Database(tmp_path / f"{limits.few}.sqlite", limits=limits)
        made.update([applied(row, address, document) for row, (address, document) in enumerate(DOCUMENTS.items(), 1)])
        found.append(asyncio.run(run(limits)))
        made.close()
    assert found[0] == found[1]


@pytest.mark.parametrize(("limit", "most"), [(apsw.SQLITE_LIMIT_COMPOUND_SELECT, 5), (apsw.SQLITE_LIMIT_SQL_LENGTH, 1_000)])
def test_a_statement_beyond_a_limit_is_too_costly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int, most: int) -> None:
    """What SQLite cannot take however often it is asked is the search's fault, not one of the server that might pass."""
    made, begin = Database(tmp_path / "a.sqlite"), Reader.__init__

    def limited(self: Reader, *given: Any) -> None:
        begin(self, *given)
        connection: apsw.Connection = given[0]
        connection.limit(limit, most)

    monkeypatch.setattr(Reader, "__init__", limited)
    made.update([applied(row, address, document) for row, (address, document) in enumerate(DOCUMENTS.items(), 1)])

    async def run() -> None:
        await made.index.open()
        with pytest.raises(TooCostly, match="fewer values"):
            await made.index.search(asked(f"Observation?value-quantity={','.join(f'gt{n}||kg' for n in range(20))}"))
        assert len((await made.index.search(asked("Patient?_id=1"))).keys) == 1
        await made.index.close()

    asyncio.run(run())
    made.close()


def test_a_rollback_leaves_nothing(database: Database) -> None:
    """What a transaction wrote that was rolled back is not found, and the same write succeeds later."""
    more = applied(100, "Patient/100", {"name": [{"family": "Zed"}], "identifier": [{"system": "urn:new", "value": "1"}]})
    before = database.content()
    database.connection.execute("BEGIN IMMEDIATE")
    database.index.write(database.connection, [more])
    database.connection.execute("ROLLBACK")
    assert database.content() == before
    database.update([more])
    assert database.content() != before


def test_deleting_what_was_never_indexed(database: Database) -> None:
    """A resource that was made and deleted in one commit leaves no row."""
    before = database.content()
    database.update([applied(100, "Patient/100", {})._replace(entry=None, live=False)])
    assert database.content() == before


def test_rebuild_gives_the_same_tables(database: Database) -> None:
    """Filling the tables from the documents gives what the commits gave; until then the index says that it is stale."""
    before = database.content()
    assert database.index.stale(database.connection)
    stored = []
    for row, (address, document) in enumerate(DOCUMENTS.items(), 1):
        type, _, id = address.partition("/")
        stored.append((row, type, id, row * 1_000_000, encode({"resourceType": type, "id": id, **document})))
    database.connection.execute("BEGIN IMMEDIATE")
    assert database.index.rebuild(database.connection, stored) == len(DOCUMENTS)
    database.connection.execute("COMMIT")
    assert database.content() == before
    assert not database.index.stale(database.connection)


def test_another_layout_empties_the_tables(database: Database) -> None:
    """Tables written by another layout are made anew at the start, and the index says that it lacks the documents."""
    with database.connection:
        database.index.rebuild(database.connection, [])
        database.index.install(database.connection)
    assert not database.index.stale(database.connection)
    database.update([applied(1, "Patient/1", DOCUMENTS["Patient/1"])])
    database.connection.execute("UPDATE idx_state SET value = 'older' WHERE name = 'fingerprint'")
    database.index.install(database.connection)
    assert database.content() == [[], [], []]
    assert database.index.stale(database.connection)


def test_searching_while_closed() -> None:
    """A search before `open` is refused with a sentence; so is opening a file that is not there."""
    index = SqliteIndex("/nowhere/a.sqlite", PARAMETERS, EXTRACTOR)
    with pytest.raises(StoreUnavailable, match="not open"):
        asyncio.run(index.search(asked("Patient")))
    with pytest.raises(StoreUnavailable, match="cannot be opened"):
        asyncio.run(index.open())


def test_words_are_gathered_in_the_background(tmp_path: Path) -> None:
    """While the words of many documents are gathered, searches by them say how far that has come; they go on by themselves."""
    database = Database(tmp_path / "a.sqlite", wait=0)
    texts = ({"text": {"status": "generated", "div": f"<div>word{n % 10}</div>"}} for n in range(1, 301))
    database.update([applied(n, f"Patient/{n}", text) for n, text in enumerate(texts, 1)])
    query = asked("Patient?_text=word3")

    async def test() -> None:
        await database.index.open()
        with pytest.raises(Preparing, match="33 % are done"):
            await database.index.search(query)
        async with asyncio.timeout(60):
            while True:
                await asyncio.sleep(0.1)
                with suppress(Preparing):
                    assert (await database.index.search(query)).total == 30
                    break
        await database.index.close()

    asyncio.run(test())
    database.close()
