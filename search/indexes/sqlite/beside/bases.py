"""The bases for which the documents in the file were indexed, kept in `idx_state`."""

import json
from collections.abc import Sequence

import apsw

from resources.stores import events
from search.indexes.bases import Kept, noted
from search.indexes.sqlite.schema import set_state, state


def remember(connection: apsw.Connection, bases: Sequence[str], *, anew: bool = False) -> None:
    """Note that documents are indexed from now on with these URLs as the server's own; `anew`: all of them are. In the caller's
    transaction."""
    before = kept(connection)
    empty = connection.execute(
        "SELECT coalesce(min(rid), ?1) >= ?1 FROM item", (events.ROW,)
    ).get  # events' references are relative
    after = noted([] if anew or empty else before, bases)
    if after != before:
        set_state(connection, "bases", json.dumps(after))


def kept(connection: apsw.Connection) -> Kept:
    """The lists of URLs that were noted."""
    text = state(connection, "bases")
    found: Kept = json.loads(text) if isinstance(text, str) else []
    return found
