"""What the tests of imports share."""

from collections.abc import Iterator

import pytest
from importing.giving import Giving, giving


@pytest.fixture(scope="module")
def source() -> Iterator[Giving]:
    """A server that gives files out."""
    with giving() as made:
        yield made
