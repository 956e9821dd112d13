"""The preconditions of a commit, the same for every store: what must be there, and who was first."""

from collections.abc import Callable, Sequence
from secrets import randbits

from resources.store import ABSENT, ANY, Change, Claim, Conflict, Record, RecordChange


def check_change(number: int, change: Change, version: int, live: bool) -> None:
    """Raise Conflict if change `number` of a commit does not fit what it finds: the resource's newest version (0: it never was), and
    whether it is live."""
    expect, current = change.expect, version if live else 0
    if expect == ABSENT:
        if live:
            raise Conflict("exists", number, current)
    elif (expect != ANY and expect != current) or (change.draft is None and not live):
        raise Conflict("version" if live else "deleted" if version else "missing", number, current)


def check_claims(claims: Sequence[Claim], newest: Callable[[bytes], int]) -> None:
    """Raise Conflict if somebody has committed one of the claims since it was made. `newest`: key -> the position of its last commit,
    0 if there is none."""
    for number, claim in enumerate(claims):
        if newest(claim.key) > claim.since:
            raise Conflict("claim", number)


def check_records(changes: Sequence[RecordChange], revision: Callable[[str, str], int]) -> None:
    """Raise Conflict if one of the records is not in the state that is expected of it. `revision`: of (kind, key), 0 if there is none."""
    for number, change in enumerate(changes):
        if change.expect != ANY and (current := revision(change.kind, change.key)) != change.expect:
            raise Conflict("record", number, current)


def made_record(change: RecordChange) -> Record | None:
    """The record as it is after the change."""
    if change.value is None:
        return None
    return Record(change.kind, change.key, change.value, randbits(53) + 1, tuple(dict.fromkeys(change.tags)), change.expires)


def check_distinct(changes: Sequence[Change], records: Sequence[RecordChange]) -> None:
    """Raises ValueError for two changes of one resource or of one record."""
    if len(changes) > 1 and len({(c.type, c.id) for c in changes}) < len(changes):
        raise ValueError("a commit may hold one change of a resource only")
    if len(records) > 1 and len({(r.kind, r.key) for r in records}) < len(records):
        raise ValueError("a commit may hold one change of a record only")
