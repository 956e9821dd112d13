"""Search parameters of one's own whose expressions cannot be relied on: http://hl7.org/fhir/R4/searchparameter.html"""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from fhir_server.searching.custom import CustomParameters
from resources.store import StoreUnavailable
from search.reading import definitions
from tests.api.conftest import Running
from tests.api.test_search_parameters import ENGINES, definition, found, got, person, put, serving

Json = dict[str, Any]
NESTED = "extension.value.where(" * 6 + "true" + ").count() > 0" * 6
SLOW = "Flag.identifier.value.first().matches('^(a+)+$')"


def flag(id: str, *values: str) -> Json:
    return {
        "resourceType": "Flag",
        "id": id,
        "status": "active",
        "code": {"text": "x"},
        "subject": {"reference": "Patient/1"},
        "identifier": [{"value": value} for value in values],
    }


@pytest.fixture(scope="module", params=ENGINES)
def flags(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[httpx.Client]:
    """A server with a Flag that has one identifier, and one that has two."""
    with serving(request.param, tmp_path_factory.mktemp("failing")) as client:
        put(client, flag("one", "a"))
        put(client, flag("two", "a", "b"))
        yield client


@pytest.mark.parametrize(
    ("type", "expression", "text"),
    [
        ("token", SLOW, "matches() cannot be used"),
        ("token", "Flag.identifier.where(value.matchesFull('a')).value", "matchesFull() cannot be used"),
        ("token", "Flag.identifier.where(value.replaceMatches('a', 'b') = 'b').value", "replaceMatches() cannot be used"),
        ("token", "'aaaaaaaa!'.matches('^(a+)+$')", "matches() cannot be used"),
        ("string", "Flag.descendants().ofType(string)", "descendants() cannot be used"),
        ("string", "Flag.identifier.select(value | value)", "select() cannot be used"),
        ("string", "Flag.identifier.value.iif(true, $this & $this)", "iif() cannot be used"),
        ("string", "Flag.identifier.where(%resource.identifier.value = value).value", "%resource cannot be used in an argument"),
        ("token", "Flag.identifier.value ~ Flag.identifier.value", "~ compares each item with each other one"),
        ("string", f"Flag.identifier.value | '{'x' * 10_000}'", "longer than 4096 characters"),
        ("string", f"Flag.extension.where({NESTED}).url", "takes more than 100000 steps"),
        ("date", "now()", "now() cannot be used"),
        ("date", "Flag.period.start | today()", "today() cannot be used"),
        ("date", "@2020-01-01", "the same value for every document"),
        ("quantity", "1 'mg'", "the same value for every document"),
        ("string", "Flag.identifier.value | 'x'.as(String)", "the same value for every document"),
    ],
)
def test_what_may_hang_or_is_no_path(flags: httpx.Client, type: str, expression: str, text: str) -> None:
    """Expressions that some document keeps busy without end, and such as tell nothing of documents, are refused."""
    answer = flags.put("SearchParameter/bad", json=definition("bad", type, expression, "Flag"))
    assert answer.status_code == 422
    assert text in "; ".join(issue["details"]["text"] for issue in answer.json()["issue"])


@pytest.mark.parametrize(
    ("type", "expression", "query", "ids"),
    [
        ("token", "Flag.identifier.value.single()", "x=a", "one"),
        ("token", "Flag.identifier.value.single()", "x:missing=true", "two"),
        ("string", "Flag.identifier.value.substring(0)", "x=a", "one"),
        ("number", "Flag.identifier.value.length()", "x=1", "one"),
    ],
)
def test_documents_on_which_it_fails(flags: httpx.Client, type: str, expression: str, query: str, ids: str) -> None:
    """A document on which the expression fails is stored, and searched as one without a value."""
    put(flags, definition("x", type, expression, "Flag"))
    assert found(flags, f"Flag?{query}") == ids.split()
    put(flags, flag("more", "a", "c"))
    assert found(flags, f"Flag?{query}") == sorted([*ids.split(), *(["more"] if "missing=true" in query else [])])
    flags.delete("Flag/more")


@pytest.mark.parametrize(
    ("expression", "query"),
    [
        ("Patient.birthDate.toDateTime()", "born=2020-01-02"),
        ("Patient.birthDate.toDate()", "born=2020-01"),
        ("Patient.birthDate.toString().toDate()", "born=ge2020-01-02"),
        ("iif(active, birthDate, @2019-01-01)", "born=2020"),
    ],
)
def test_computed_dates(flags: httpx.Client, expression: str, query: str) -> None:
    """Dates that an expression makes are searched as those that stand in a document."""
    put(flags, person("p", birthDate="2020-01-02", active=True))
    put(flags, definition("born", "date", expression))
    assert found(flags, f"Patient?{query}") == ["p"]


def test_failures_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The log tells of documents without a value: the parameter, the kind of failure and the number, nothing of the document."""
    with serving("memory", tmp_path) as client:
        put(client, definition("once", "token", "Flag.identifier.value.single()", "Flag"))
        for number in range(3):
            put(client, flag(f"f{number}", "secret", "hidden"))
        assert found(client, "Flag?once=secret") == []
    told = [record for record in caplog.records if "gives no value" in record.message]
    assert told
    assert vars(told[0])["failure"] == "FhirPathError"
    assert vars(told[0])["count"] == 1
    assert "secret" not in str([vars(record) for record in told])


def test_definitions_of_an_earlier_release(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A stored definition that would hang does nothing after a start, and is named in the log once, without its contents."""
    with monkeypatch.context() as before, serving("sqlite", tmp_path) as client:
        before.setattr(definitions, "check_expression", lambda expression: None)
        put(client, definition("slow", "token", SLOW, "Flag"))
    with serving("sqlite", tmp_path) as client:
        put(client, flag("a", f"{'a' * 32}!"))
        put(client, definition("other", "token", "Flag.identifier.value", "Flag"))
        assert found(client, f"Flag?other={'a' * 32}!") == ["a"]
        assert got(client, "Flag?slow=true").status_code == 400
    told = [record for record in caplog.records if "cannot be used" in record.message]
    assert [vars(record)["definition"] for record in told] == ["SearchParameter/slow"]
    assert "matches" not in str([vars(record) for record in told])


def test_stored_is_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a definition was committed but cannot be taken in at once, the answer is success, and it counts once it can be."""
    whole = CustomParameters.refresh
    with serving("sqlite", tmp_path) as client:
        with monkeypatch.context() as away:

            async def refresh(_self: CustomParameters) -> None:
                raise StoreUnavailable("The store is away.")

            away.setattr(CustomParameters, "refresh", refresh)
            assert client.put("SearchParameter/x", json=definition("x", "token", "Flag.status", "Flag")).status_code == 201
        assert CustomParameters.refresh is whole
        put(client, flag("a", "1"))
        assert client.get("SearchParameter/x").status_code == 200
        _wait_for(client, "Flag?x=active")


def test_following_outlives_any_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever fails while two servers follow definitions, their next rounds go on."""
    monkeypatch.setattr("fhir_server.searching.custom.TICK", 0.01)
    monkeypatch.setattr("fhir_server.searching.custom.LONGEST_PAUSE", 0.02)
    whole, failed = CustomParameters.refresh, set[CustomParameters]()

    async def refresh(self: CustomParameters) -> None:
        if self not in failed:
            failed.add(self)
            raise RuntimeError("unforeseen")
        await whole(self)

    servers = [Running(tmp_path), Running(tmp_path)]
    for one in servers:
        one.start()
    try:
        monkeypatch.setattr(CustomParameters, "refresh", refresh)
        deadline = time.monotonic() + 60
        while len(failed) < 2:
            assert time.monotonic() < deadline, "nothing follows"
            time.sleep(0.01)
        put_to, read_from = (f"{one.root}/fhir/" for one in servers)
        with httpx.Client(base_url=put_to) as first, httpx.Client(base_url=read_from) as second:
            put(first, definition("x", "token", "Flag.status", "Flag"))
            for client in (first, second):
                _wait_for(client, "Flag?x=active")
    finally:
        for one in servers:
            one.stop()


def _wait_for(client: httpx.Client, query: str) -> None:
    deadline = time.monotonic() + 60
    while client.get(query).status_code != 200:
        assert time.monotonic() < deadline, "the definition never counted"
        time.sleep(0.05)
