"""A server with the two patients' records, and a way for a test to store Consents there that are gone at its end."""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from access.consents.consenting import CALLERS, CONTENT, Agree, Json, consent, put
from access.worlds import Ask, World

from fhir_server.access import following


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The store is asked at each request, so that no test has to wait; `test_a_consent_counts_within_a_second` does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(following, "CHECKED", 0.0)
        one = World(tmp_path_factory.mktemp("consents"), CONTENT, CALLERS)
        yield one
        one.close()


@pytest.fixture
def agree(world: World) -> Iterator[Agree]:
    """Stores a Consent with this provision; all are taken back at the end."""
    stored: list[str] = []

    def store(provision: Json | None, of: str = "p", **more: Any) -> str:
        id = uuid4().hex
        assert put(world, consent(id, provision, of, **more)).status == 201
        stored.append(id)
        return id

    yield store
    for id in stored:
        assert world.ask("everything", Ask("", "DELETE", f"Consent/{id}")).status == 204
