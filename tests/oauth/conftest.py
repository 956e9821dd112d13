"""One server with clients of every kind for all tests of this folder."""

import asyncio
from collections.abc import Iterator

import pytest
from oauth.world import OAuth

from resources.store import RecordChange
from smart_auth.client_keys import jwks_uri
from smart_auth.happenings import Happening
from smart_auth.service import Service


@pytest.fixture(scope="session")
def oauth(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OAuth]:
    one = OAuth(tmp_path_factory.mktemp("oauth"), registration="open")
    yield one
    one.close()


@pytest.fixture(scope="module", autouse=True)
def patient() -> Iterator[None]:
    """The server waits for keys longer than this machine may be busy with something else."""
    with pytest.MonkeyPatch.context() as waiting:
        waiting.setattr(jwks_uri, "SECONDS", 60.0)
        yield


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that takes its time, so that requests that come at the same moment are under way together."""
    commit = Service.commit

    async def later(self: Service, *records: RecordChange, happening: Happening | None = None) -> None:
        await asyncio.sleep(0.02)
        await commit(self, *records, happening=happening)

    monkeypatch.setattr(Service, "commit", later)
