"""A search index that lives in the store's own database and takes part in its commits.

This is the business of the stores that have one (SQLite and memory), not of the contract: a store without says so by
`wants_entries` (docs/adr/0008).
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Protocol


class Applied(NamedTuple):
    """A change as it was written, told to the participant inside the transaction.

    `row` is the store's number of the resource (the same for all its versions). `entry` is what the Change carried or, where it
    carried none, what `Participant.prepare` made of the document; None for a deletion, which `live` tells (False).
    `created`: the resource had no live version before. `new`: its row is new."""

    row: int
    type: str
    id: str
    instant: int
    entry: Any
    created: bool
    new: bool
    live: bool = True


class Participant(Protocol):
    """A search index that lives in the store's own database and writes in its transactions (the SQLite index)."""

    def install(self, connection: Any) -> None:
        """Create or upgrade the participant's own tables, inside a transaction of the store."""

    def stale(self, connection: Any) -> bool:
        """Whether, after `install`, the tables lack documents that were stored before: the store then calls `rebuild`, as it
        does where something was written without the participant."""

    def rebuild(self, connection: Any, documents: Iterable[tuple[int, str, str, int, bytes]]) -> int:
        """Index all live documents anew, given as (row, type, id, instant, body), in the open transaction; returns how many.

        The store's own events are not among them; they come through `write` afterwards, as new ones do.
        """

    def write(self, connection: Any, applied: Sequence[Applied]) -> None:
        """Write what the index keeps of these changes, in the open transaction."""

    def prepare(self, type: str, body: bytes) -> Any:
        """The `entry` of a document as it is stored: for events (indexed after their commit), for a rebuild, and for a change
        that came without one."""
