"""Servers with a small population: one without sign-in, one with clients of every kind."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from api.conftest import serving
from exporting.people import POPULATION
from oauth.world import OAuth


@pytest.fixture(scope="session")
def bulk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A client of a server that asks nobody who they are."""
    with serving(Path(tmp_path_factory.mktemp("bulk")), POPULATION, jobs_at_once=100, rate_limit_polls="off") as client:
        yield client


@pytest.fixture(scope="session")
def oauth(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OAuth]:
    """A server with sign-in, and the same population."""
    server = OAuth(tmp_path_factory.mktemp("oauth"), jobs_at_once=100, rate_limit_polls="off")
    for document in POPULATION:
        name = f"/fhir/{document['resourceType']}/{document['id']}"
        server.http.put(name, json=document, headers=server.bearer("everything")).raise_for_status()
    yield server
    server.close()


@pytest.fixture
def service(oauth: OAuth) -> Iterator[httpx.Client]:
    """A backend service that may read everything."""
    token = oauth.service_token("backend").json()["access_token"]
    with httpx.Client(base_url=f"{oauth.root}/fhir/", timeout=30, headers={"Authorization": f"Bearer {token}"}) as client:
        yield client
