"""One server for all tests of sign-in that need nothing of their own."""

from collections.abc import Iterator

import pytest
from walking import Smart, walking


@pytest.fixture(scope="session")
def smart(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Smart]:
    """Users, apps of all kinds, two patients."""
    with walking(tmp_path_factory.mktemp("smart")) as made:
        yield made
