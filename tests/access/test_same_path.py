"""What is hidden takes the way of what is absent: the same calls of store and index, so that no clock tells one from the other."""

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from access import roads
from access.population import NEVER, OTHER, OWN, made_of
from access.worlds import Ask, World, everything

from fhir_server.access import following
from resources.stores.sqlite import SqliteStore
from search.indexes.sqlite.index import SqliteIndex
from smart_auth import tokens

WATCHED = (
    *((SqliteStore, name) for name in ("read", "read_version", "read_many", "history", "count_history", "commit", "record")),
    *((SqliteIndex, name) for name in ("search", "search_in_turn", "include", "allowed", "latest")),
)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Both patients."""
    made = World(tmp_path_factory.mktemp("paths"), everything(), audit_checkpoint_seconds=86_400)
    yield made
    made.close()


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is called on the store and the index, while the test runs."""
    seen: list[str] = []
    # what looks for new Consents, and tokens up again, now and then does so for any request
    monkeypatch.setattr(following, "CHECKED", 3_600.0)
    monkeypatch.setattr(tokens, "KEPT", 3_600_000_000)
    for owner, name in WATCHED:
        monkeypatch.setattr(owner, name, _recording(getattr(owner, name), f"{owner.__name__}.{name}", seen))
    return seen


def _recording(method: Callable[..., Any], name: str, seen: list[str]) -> Callable[..., Any]:
    assert inspect.iscoroutinefunction(method), name

    async def recorded(*args: Any, **kwargs: Any) -> Any:
        seen.append(name)
        return await method(*args, **kwargs)

    return recorded


def _asks(id: str) -> list[Ask]:
    """By the id of the other patient's Observation, or of none."""
    document = {**made_of("Observation", OWN), "id": id}
    patch = '[{"op": "add", "path": "/language", "value": "en"}]'
    return [
        Ask("read", "GET", f"Observation/{id}"),
        Ask("head", "HEAD", f"Observation/{id}"),
        Ask("vread", "GET", f"Observation/{id}/_history/1"),
        Ask("history", "GET", f"Observation/{id}/_history"),
        Ask("$meta", "GET", f"Observation/{id}/$meta"),
        Ask("$validate", "GET", f"Observation/{id}/$validate"),
        Ask("search", "GET", f"Observation?_id={id}"),
        Ask("search and include", "GET", f"Observation?_id={id}&_include=Observation:subject&_revinclude=Provenance:target"),
        Ask("chain", "GET", f"Observation?has-member._id={id}"),
        Ask("reverse chain", "GET", f"Patient?_has:Observation:subject:_id={id}"),
        Ask("update", "PUT", f"Observation/{id}", document),
        Ask("update if match", "PUT", f"Observation/{id}", document, {"If-Match": 'W/"2"'}),
        Ask("patch", "PATCH", f"Observation/{id}", patch, roads.PATCH),
        Ask("delete", "DELETE", f"Observation/{id}"),
        Ask("conditional update", "PUT", f"Observation?_id={id}", document),
        Ask("conditional delete", "DELETE", f"Observation?_id={id}"),
        Ask("$meta-add", "POST", f"Observation/{id}/$meta-add", roads.meta_of("added")),
        Ask("batch", "POST", "", roads.bundled("batch", ("GET", f"Observation/{id}", None), ("DELETE", f"Observation/{id}", None))),
        Ask("transaction", "POST", "", roads.bundled("transaction", ("PUT", f"Observation/{id}", document))),
    ]  # fmt: skip


ROADS = [ask.road for ask in _asks("any")]


@pytest.mark.parametrize("number", range(len(ROADS)), ids=ROADS)
def test_hidden_takes_the_way_of_absent(number: int, world: World, calls: list[str]) -> None:
    """A document that the caller may not see and one that never was are looked for by the same calls, in the same order, and give the same
    status."""
    hidden, absent = _asks(f"{OTHER}-survey")[number], _asks(f"{NEVER}-survey")[number]
    world.ask("patient", hidden)  # whatever is kept after a first time
    calls.clear()
    told = world.ask("patient", hidden)
    by_hidden = list(calls)
    calls.clear()
    assert world.ask("patient", absent).status == told.status
    assert by_hidden == list(calls)
    assert by_hidden
