"""The preconditions of a commit, the same for every store: what must be there, and who was first."""

from collections.abc import Callable, Sequence

from resources.store import ABSENT, ANY, Change, Claim, Conflict


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
