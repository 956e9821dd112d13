"""Random bytes of the operating system, fetched by the page: a call for each id would cost more than the id itself."""

import os

_PAGE = 4096

_left = b""


def random_bytes(count: int) -> bytes:
    """`count` (at most 4,096) unguessable bytes, none of them given out twice. For one thread of one process."""
    global _left
    if len(_left) < count:
        _left = os.urandom(_PAGE)
    taken, _left = _left[:count], _left[count:]
    return taken


def _forget() -> None:
    global _left
    _left = b""


os.register_at_fork(after_in_child=_forget)  # a child must not give out the same bytes as its parent
