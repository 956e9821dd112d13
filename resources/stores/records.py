"""Records within a group of commits (`resources.store.Record`), the same for every store: what is checked, and what is then written."""

from collections.abc import Callable, Sequence

from resources.store import Record, RecordChange
from resources.stores.preconditions import check_records, made_record

Name = tuple[str, str]
"""(kind, key)"""


def live(record: Record | None, now: int) -> Record | None:
    """The record, unless it has expired by `now`."""
    return None if record is not None and 0 < record.expires <= now else record


class Plan:
    """What a group will write. `stored` gives what is there of a (kind, key), expired or not; `now`: microseconds since the epoch."""

    def __init__(self, stored: Callable[[Name], Record | None], now: int) -> None:
        self._stored, self._now = stored, now
        self.made: dict[Name, Record | None] = {}

    def check(self, changes: Sequence[RecordChange]) -> None:
        """Raises Conflict if a precondition does not hold after the group's earlier commits."""
        check_records(changes, self._revision)

    def add(self, changes: Sequence[RecordChange]) -> None:
        """Take the changes of a commit into the group."""
        for change in changes:
            self.made[(change.kind, change.key)] = made_record(change)

    @property
    def kept(self) -> list[Record]:
        """The records as they are to be."""
        return [record for record in self.made.values() if record is not None]

    @property
    def forgotten(self) -> list[Name]:
        """What is to be no more."""
        return [name for name, record in self.made.items() if record is None]

    def _revision(self, kind: str, key: str) -> int:
        name = (kind, key)
        found = live(self.made[name] if name in self.made else self._stored(name), self._now)
        return found.revision if found is not None else 0
