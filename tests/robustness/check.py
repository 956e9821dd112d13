"""What must hold on disk after a kill, whatever the moment."""

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from robustness.load import MARK, Place, Sent

from resources.store import Version
from resources.stores.sqlite import SqliteStore

WRITES = frozenset(("create", "update", "contend", "transaction", "conditional"))
EXPECTED = {
    "create": {201}, "update": {200}, "contend": {200, 201, 412}, "transaction": {200}, "repeat": {200}, "conditional": {200, 201},
    "read": {200, 410}, "search": {200}, "delete": {200, 204},
}  # fmt: skip


class Checker:
    """Reads what every life added to the database, in commit order, and compares it with what the clients saw."""

    def __init__(self, database: Path) -> None:
        self._database, self._position = database, 0
        self._wrote: Counter[str] = Counter()
        self._versions: dict[Place, str] = {}
        self._recorded: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()

    async def read(self) -> None:
        """Take in what was written since the last time. Opened anew each time: a connection that stayed open would keep SQLite
        from having to recover."""
        store = SqliteStore(self._database)
        await store.open()
        try:
            async for versions in store.outbox(after=self._position):
                for version in versions:
                    assert version.position > self._position, f"positions do not grow: {version}"
                    self._position = version.position
                    self._take(version)
        finally:
            await store.close()

    def _take(self, version: Version) -> None:
        if version.type == "AuditEvent":
            document = json.loads(version.body or b"")
            for entity in document.get("entity", []):
                if entity.get("type", {}).get("code") == "XrequestId":
                    self._recorded[entity["what"]["identifier"]["value"]] += 1
            self.counts["AuditEvents"] += 1
            return
        marks = [i["value"] for i in json.loads(version.body)["identifier"] if i["system"] == MARK] if version.body else [""]
        place = (version.type, version.id, version.version)
        assert place not in self._versions, f"{place} is there twice"
        self._versions[place] = marks[0]
        self._wrote[marks[0]] += 1
        self.counts["versions"] += 1

    def problems(self, sent: list[Sent]) -> list[str]:
        """What does not hold for the requests of one life, in words; empty if all is well."""
        found: list[str] = []
        for one in sent:
            self.counts[f"{one.kind} {one.status or 'unanswered'}"] += 1
            found += self._unanswered(one) if not one.status else self._answered(one)
        return found + self._races(sent)

    def _answered(self, one: Sent) -> list[str]:
        found = []
        if one.status not in EXPECTED[one.kind]:
            found.append(f"{one.kind} {one.id} was answered {one.status}: {one.problem[:300]}")
        if not self._recorded[one.id]:
            found.append(f"{one.kind} {one.id} was answered {one.status} and has no AuditEvent")
        for place in one.seen:
            if place not in self._versions:
                found.append(f"{one.kind} {one.id} was answered {one.status} with {place}, which is not there")
            elif one.kind in ("create", "update", "contend", "transaction") and self._versions[place] != one.id:
                found.append(f"{place} was promised to {one.id} and holds the write of {self._versions[place]}")
            elif one.kind == "delete" and self._versions[place]:
                found.append(f"{place} was deleted by {one.id} and is alive")
        makes = 0 if one.kind == "conditional" and one.status == 200 else one.makes
        if one.status < 300 and self._wrote[one.id] != makes:
            found.append(f"{one.kind} {one.id} made {self._wrote[one.id]} versions, not {makes}")
        if one.status >= 400 and self._wrote[one.id]:
            found.append(f"{one.kind} {one.id} was refused with {one.status} and written all the same")
        if one.kind == "search" and not one.seen and one.status == 200 and one.name:
            found.append(f"search {one.id} did not find {one.name}, which was answered before")
        return found

    def _unanswered(self, one: Sent) -> list[str]:
        made = self._wrote[one.id]
        if made not in (0, one.makes):
            return [f"{one.kind} {one.id} is half there: {made} of {one.makes} versions"]
        if made and not self._recorded[one.id]:
            return [f"{one.kind} {one.id} was written without its AuditEvent"]
        if one.kind in WRITES - {"conditional", "contend"} and self._recorded[one.id] and not made:
            return [f"{one.kind} {one.id} has an AuditEvent and was not written"]
        return []

    def _races(self, sent: list[Sent]) -> list[str]:
        """Conditional creates with one criterion: at most one made something, and all answers name the same resource."""
        found = []
        for name in {one.name for one in sent if one.kind == "conditional"}:
            racers = [one for one in sent if one.name == name]
            made = [one.id for one in racers if self._wrote[one.id]]
            named = {place[1] for one in racers for place in one.seen}
            if len(made) > 1 or len(named) > 1 or (named and not made):
                found.append(f"conditional creates of {name} made {made} and were answered with {named}")
        return found

    def repeated(self, lost: Sent, again: Sent) -> list[str]:
        """A transaction that was repeated with its Idempotency-Key must have happened once."""
        if again.status != 200 or self._wrote[lost.id] != lost.makes:
            return [
                f"transaction {lost.id}, repeated by {again.id} ({again.status}): {self._wrote[lost.id]} of {lost.makes} versions"
            ]
        return []

    def recorded(self, request: str) -> bool:
        """Whether there is an AuditEvent of this request."""
        return self._recorded[request] > 0

    def happened(self, one: Sent) -> bool:
        """Whether anything was written or recorded for this request."""
        return self._wrote[one.id] > 0 or self.recorded(one.id)

    def alive(self, requests: Iterable[str]) -> set[str]:
        """The ids of the resources that these requests made and that are not deleted."""
        wanted = set(requests)
        latest: dict[tuple[str, str], int] = {}
        for type, id, version in self._versions:
            latest[type, id] = max(version, latest.get((type, id), 0))
        made = {place[:2] for place, mark in self._versions.items() if mark in wanted}
        return {id for type, id in made if self._versions[type, id, latest[type, id]]}
