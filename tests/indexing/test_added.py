"""Search parameters that are added to servers with Elasticsearch: every process learns of them, and nothing is lost on the way."""

import asyncio
import json
import secrets
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from indexing.feed_harness import PARAMETERS, Place, Process, delete, place, put, sweep, until
from indexing.serving import FHIR, Gate, processes
from indexing.serving import Process as Server
from services.running import service

from resources.documents import draft
from resources.store import ANY, Change, StoreUnavailable
from search.parameter import SearchParameter
from search.query import Clause, Modifier, Query, Term
from search.reading.definitions import read_definition
from search.values import StringValue

NICK: dict[str, Any] = {
    "url": "http://example.org/fhir/SearchParameter/nick",
    "name": "nick",
    "status": "active",
    "description": "What people are called",
    "code": "nick",
    "base": ["Patient"],
    "type": "string",
    "expression": "Patient.name.text",
}


def run(test: Callable[[Place], Awaitable[None]]) -> None:
    async def within() -> None:
        async with place(service("elasticsearch")) as there:
            await test(there)

    asyncio.run(within())


def nick() -> SearchParameter:
    [parameter] = read_definition(NICK, PARAMETERS)
    return parameter


async def found(process: Process, text: str) -> list[str]:
    """The ids of patients whose nickname begins so, once these are gathered."""
    query = Query("Patient", (Clause(nick(), Modifier.NONE, (Term(StringValue(text, text)),)),), count=1000)
    await process.index.extend((nick(),))
    assert await process.index.caught_up(("Patient",))

    async def gathered() -> bool:
        try:
            await process.index.search(query)
        except StoreUnavailable:
            return False
        return True

    await until(gathered)
    return sorted(key.id for key in (await process.index.search(query)).keys)


async def called(there: Place, id: str, text: str) -> None:
    await put(there.store, "Patient", id, name=[{"text": text}])


async def defined(there: Place, **changed: Any) -> None:
    body = json.dumps({"resourceType": "SearchParameter", **NICK, **changed}).encode()
    await there.store.commit([Change("SearchParameter", "nick", draft(body, "nick"), ANY)])


def test_what_was_there_and_what_comes() -> None:
    """Documents from before the definition, from after it, changed and deleted ones; two processes, of which one feeds."""

    async def test(there: Place) -> None:
        one, other = await there.process(), await there.process()
        for n in range(5):
            await called(there, f"{n}", "ann" if n % 2 else "bob")
        await until(lambda: one.index.caught_up(("Patient",)))
        await defined(there)
        await called(there, "new", "annie")
        assert await found(one, "ann") == ["1", "3", "new"]
        await called(there, "1", "bob")
        await delete(there.store, "Patient", "3")
        assert await found(other, "ann") == ["new"]
        assert await found(other, "bob") == ["0", "1", "2", "4"]

    run(test)


def test_a_definition_that_was_away() -> None:
    """What was written while the definition was given up is found once it is back, though its name and fields are the same."""

    async def test(there: Place) -> None:
        process = await there.process()
        await called(there, "1", "ann")
        await defined(there)
        assert await found(process, "ann") == ["1"]
        await defined(there, status="retired")
        await called(there, "2", "anna")
        await until(lambda: process.index.caught_up(("Patient", "SearchParameter")))
        await defined(there)
        await called(there, "3", "anne")
        assert await process.index.caught_up(("SearchParameter",))
        assert await found(process, "ann") == ["1", "2", "3"]

    run(test)


@pytest.mark.parametrize(("successor", "again"), [(False, False), (True, True)])
def test_a_definition_that_went_while_its_index_took_nothing(successor: bool, again: bool) -> None:
    """The index notes it once it can, whoever is the feeder then; what was written in between is found where it comes back before."""

    async def test(there: Place) -> None:
        process = await there.process()
        await called(there, "1", "ann")
        await defined(there)
        assert await found(process, "ann") == ["1"]
        live = (await process.indices.states())["Patient"].live
        assert live is not None
        await block(process, live, on=True)
        await delete(there.store, "SearchParameter", "nick")
        await until(lambda: process.index.caught_up(("SearchParameter",)))
        if successor:
            await process.feed.stop()
            process = await there.process()
        await called(there, "2", "anna")
        await put(there.store, "Organization", "o")
        assert await process.index.caught_up(("Organization",))
        await block(process, live, on=False)
        await until(lambda: caught_up(process))
        if again:
            await defined(there)
            assert await process.index.caught_up(("SearchParameter",))
            assert await found(process, "ann") == ["1", "2"]
            return
        process.feed.hurry()
        await until(lambda: forgotten(process, live))

    run(test)


async def block(process: Process, index: str, *, on: bool) -> None:
    value = b"true" if on else b"null"
    await process.connection.call("PUT", f"/{index}/_settings", b'{"index.blocks.read_only":%b}' % value)


async def caught_up(process: Process) -> bool:
    try:
        return await process.index.caught_up(("Patient",))
    except StoreUnavailable:
        return False


async def forgotten(process: Process, index: str) -> bool:
    return not (await process.indices.noted(index)).added


def test_indices_made_anew() -> None:
    """An index that is rebuilt, or was deleted by hand, has added parameters as well; a repaired document has its values."""

    async def test(there: Place) -> None:
        process = await there.process()
        await defined(there)
        await called(there, "1", "ann")
        assert await found(process, "ann") == ["1"]
        await process.feed.rebuild().run(["Patient"], watch=lambda type, count: None)
        await called(there, "2", "ann")
        assert await found(process, "ann") == ["1", "2"]
        live = (await process.indices.states())["Patient"].live
        assert live is not None
        await process.connection.call("DELETE", f"/{live}/_doc/1", params={"refresh": "true"})
        drift = await process.feed.comparison("Patient", await process.feed.ready(20), repair=True).run()
        assert (drift.missing, drift.repaired) == (1, 1)
        await process.indices.refresh("Patient")
        assert await found(process, "ann") == ["1", "2"]
        await process.indices.delete(live)
        process.feed.hurry()
        await until(lambda: process.index.caught_up(("Patient",)))
        assert await found(process, "ann") == ["1", "2"]
        await called(there, "3", "ann")
        assert await process.index.reindex() == ["Patient.nick"]
        assert await found(process, "ann") == ["1", "2", "3"]

    run(test)


def bundle(first: int, count: int) -> dict[str, Any]:
    made = [{"resourceType": "Patient", "id": f"k{n}", "name": [{"text": f"kim {n % 7}"}]} for n in range(first, first + count)]
    entries = [{"resource": each, "request": {"method": "PUT", "url": f"Patient/{each['id']}"}} for each in made]
    return {"resourceType": "Bundle", "type": "transaction", "entry": entries}


def progress(url: str, prefix: str) -> tuple[int, bool]:
    """(how far the values of the patients' parameter have been gathered, whether that is all) as the index notes it."""
    indices = httpx.get(f"{url}/{prefix}-*-patient-*/_mapping").json().values()
    notes = [note for index in indices for note in index["mappings"].get("_meta", {}).get("added", {}).values()]
    return (notes[0]["scanned"], notes[0]["complete"]) if notes else (0, False)


@pytest.mark.parametrize(("transactions", "size"), [(6, 500)])
def test_the_feeder_is_killed_while_it_gathers(tmp_path: Path, transactions: int, size: int) -> None:
    """kill -9 in the midst of it: the other process goes on, says until the end that it is not done, and then finds everything."""
    url, prefix = service("elasticsearch"), f"added{secrets.token_hex(4)}"
    with Gate(
        urlsplit(url).port or 0
    ) as gate:  # gathering stops in the midst of it, whoever does it and however quick the machine is
        settings = {"FHIR_SEARCH_URL": gate.url, "FHIR_SEARCH_PREFIX": prefix, "FHIR_SEARCH_WAIT": "30"}
        feeder, other = Server(tmp_path, **settings), Server(tmp_path, **settings)

        def asked() -> httpx.Response:
            return other.client.get("Patient?nick=kim 3&_summary=count")

        with processes(feeder):
            for n in range(transactions):
                feeder.client.post("", json=bundle(n * size, size), headers=FHIR, timeout=60).raise_for_status()
            assert feeder.total("Patient?_summary=count") == transactions * size
            with processes(other):
                feeder.client.put(
                    "SearchParameter/nick", json={"resourceType": "SearchParameter", "id": "nick", **NICK}, headers=FHIR
                )
                deadline = time.monotonic() + 60
                while (reached := progress(url, prefix)) == (0, False):
                    assert time.monotonic() < deadline, "nothing is gathered"
                    time.sleep(0.005)
                while (early := asked()).status_code == 400:
                    assert time.monotonic() < deadline, "the other process does not learn of the definition"
                feeder.kill()
                assert reached[1] is False, "it was done before it could be killed"
                assert early.status_code == 503, early.text
                gate.open()
                deadline = time.monotonic() + 60
                while (answer := asked()).status_code != 200:
                    assert answer.status_code == 503 and time.monotonic() < deadline, answer.text
                    time.sleep(0.2)
                assert answer.json()["total"] == len(range(3, transactions * size, 7))
                assert other.total("Patient?nick=kim&_summary=count") == transactions * size
    asyncio.run(sweep(url, prefix))
