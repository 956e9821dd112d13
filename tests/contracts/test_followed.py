"""What follows the resources of a type (fhir_server/access/following.py), on every store."""

from collections.abc import Callable
from typing import Any

import pytest
from contracts.store_harness import Clock, Test, change, removal

from fhir_server.access import following
from fhir_server.access.following import Followed
from resources.store import ResourceStore


def test_what_changes_is_followed(run: Callable[[Test], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """What is there at first, what comes, changes and goes, however many at once, and nothing of other types."""
    monkeypatch.setattr(following, "CHECKED", 0.0)
    monkeypatch.setattr(following, "_PAGE", 3)

    async def test(store: ResourceStore, _: Clock) -> None:
        followed = Followed(store, "Patient", _family)
        await store.commit([change("1", "a"), change("2", "b")])
        assert await followed.refresh()
        assert followed.known == {"1": "a", "2": "b"}
        assert not await followed.refresh()
        await store.commit([change("x", type="Group")])
        assert not await followed.refresh()
        for number in range(10):
            await store.commit([change("1", f"a{number}"), change(f"n{number}", "n")])
        await store.commit([removal("2")])
        assert await followed.refresh()
        assert followed.known == {"1": "a9"} | {f"n{number}": "n" for number in range(10)}
        await store.commit([change("1", "nothing"), change("2", "again")])
        assert await followed.refresh()
        assert "1" not in followed.known and followed.known["2"] == "again"
        await store.commit([change("1", "nothing"), change("2", "again")])
        assert not await followed.refresh()
        anew = Followed(store, "Patient", _family)
        await anew.refresh()
        assert anew.known == followed.known

    run(test)


def _family(document: Any) -> str | None:
    family: str = document["name"][0]["family"]
    return None if family == "nothing" else family
