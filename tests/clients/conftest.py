"""One running server for all tests with real clients; each test works on people of its own."""

from collections.abc import Iterator

import pytest
from robustness.running import Server


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server, started once for these tests."""
    with Server(tmp_path_factory.mktemp("clients") / "data") as running:
        yield running
        assert running.stop() == 0
