"""One server for all tests of sign-in that need nothing of their own."""

from collections.abc import Iterator

import pytest
from people import People, people
from walking import Smart, walking

from smart_auth.client_keys import jwks_uri
from smart_auth.outside import fetching


@pytest.fixture(scope="session")
def smart(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Smart]:
    """Users, apps of all kinds, two patients."""
    with walking(
        tmp_path_factory.mktemp("smart"), rate_limit_oauth="off", rate_limit_authorize="off", rate_limit_sign_in="off"
    ) as made:
        yield made


@pytest.fixture(scope="session")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[People]:
    """What `crowd` gives, for all tests."""
    with people(tmp_path_factory.mktemp("people")) as made:
        yield made


@pytest.fixture
def crowd(crowded: People) -> People:
    """A server whose clock can be moved, with users that no other test has had."""
    crowded.clock.catch_up()
    return crowded


@pytest.fixture(scope="module", autouse=True)
def patient() -> Iterator[None]:
    """The server waits for issuers and for keys longer than this machine may be busy with something else."""
    with pytest.MonkeyPatch.context() as waiting:
        for module in (fetching, jwks_uri):
            waiting.setattr(module, "SECONDS", 60.0)
        yield
