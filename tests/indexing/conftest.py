"""What holds for tests of the feed."""

import pytest

from fhir_server.indexing import feed


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits bears with an Elasticsearch that says nothing for some seconds, as on a machine that is busy otherwise; a test of
    what is told then sets another time."""
    monkeypatch.setattr(feed, "HICCUP", 15.0)
