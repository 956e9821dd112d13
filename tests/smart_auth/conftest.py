"""One server for all tests of sign-in that need nothing of their own."""

from collections.abc import Iterator

import pytest
from people import People, people
from walking import Smart, walking


@pytest.fixture(scope="session")
def smart(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Smart]:
    """Users, apps of all kinds, two patients."""
    with walking(
        tmp_path_factory.mktemp("smart"), rate_limit_oauth="off", rate_limit_authorize="off", rate_limit_sign_in="off"
    ) as made:
        yield made


@pytest.fixture(scope="session")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[People]:
    """A server whose clock can be moved, with users that no other test has had."""
    with people(tmp_path_factory.mktemp("people")) as made:
        yield made
