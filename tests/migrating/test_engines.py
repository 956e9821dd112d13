"""Imports into MongoDB and PostgreSQL, with search in Elasticsearch: all of them real servers."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from migrating.people import PEOPLE, VISITS, write
from migrating.running import imported
from migrating.test_from_csv import documented
from services import running
from services.mongo.database import database as mongo
from services.postgres.database import database as postgres


@pytest.fixture(params=["mongo", "postgres"])
def settings(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """The settings of a server with an empty database."""
    database: AbstractContextManager[str] = mongo() if request.param == "mongo" else postgres()
    search, prefix = running.service("elasticsearch"), f"import{uuid4().hex[:12]}"
    with database as url:
        yield {"FHIR_STORE_URL": url, "FHIR_SEARCH_URL": search, "FHIR_SEARCH_PREFIX": prefix}
    httpx.delete(f"{search}/{prefix}-*", timeout=60)


def test_rows(settings: dict[str, str], tmp_path: Path) -> None:
    """They come once, are the same as the store holds them, and a second time nothing is written."""
    write(tmp_path)
    (tmp_path / "mapping.yaml").write_text(documented(), "utf-8")
    command = (tmp_path / "data", "csv", str(tmp_path / "mapping.yaml"))
    first = imported(*command, **settings)
    assert first.code == 0, first.said
    assert first.of("written") == first.of("verified") and first.of("written")["Patient"] == PEOPLE
    assert first.of("written")["Encounter"] == VISITS
    second = imported(*command, **settings)
    assert second.code == 0 and second.of("unchanged") == first.of("written")
