"""One server with clients of every kind for all tests of this folder."""

from collections.abc import Iterator

import pytest
from oauth.world import OAuth


@pytest.fixture(scope="session")
def oauth(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OAuth]:
    one = OAuth(tmp_path_factory.mktemp("oauth"), registration="open")
    yield one
    one.close()
