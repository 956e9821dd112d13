"""Stores and indexes that several modules run on."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from contracts.elastic_harness import Elastic
from contracts.filling import DOCUMENTS, INDEXES, Filled, filled_with
from contracts.index_harness import Database
from contracts.store_harness import KINDS, Test, run_on

from resources.stores.mongo import store, transactions


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A MongoDB that is busy with something else is waited for: what the store does where none answers is no part of the contract."""
    for module in (store, transactions):
        monkeypatch.setattr(module, "ANSWER", 60.0)


@pytest.fixture(params=list(KINDS))
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Test], None]:
    """Runs a test's coroutine on an open store of each kind."""
    return lambda test: run_on(request.param, tmp_path, test)


@pytest.fixture(scope="module")
def elastic() -> Iterator[Elastic]:
    """Indices in Elasticsearch, which all tests of a module share: they take long to make."""
    made = Elastic()
    yield made
    made.close()


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """The index in a SQLite file, which all tests of a module share."""
    made = Database(tmp_path_factory.mktemp("index") / "a.sqlite")
    yield made
    made.close()


@pytest.fixture(params=INDEXES)
def filled(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Filled]:
    """An index of each kind with DOCUMENTS in it."""
    with filled_with(DOCUMENTS, request, tmp_path) as made:
        yield made
