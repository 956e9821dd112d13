"""Random bytes of the operating system, fetched by the page: a call for each id would cost more than the id itself."""

import os

_PAGE = 4096


class _Page:
    """What is left of the page fetched last. For one thread of one process."""

    def __init__(self) -> None:
        self._left = b""

    def take(self, count: int) -> bytes:
        """The next `count` bytes."""
        if len(self._left) < count:
            self._left = os.urandom(_PAGE)
        taken, self._left = self._left[:count], self._left[count:]
        return taken

    def forget(self) -> None:
        """Begin a new page at the next call."""
        self._left = b""


_page = _Page()
os.register_at_fork(after_in_child=_page.forget)  # a child must not give out the same bytes as its parent


def random_bytes(count: int) -> bytes:
    """`count` (at most 4,096) unguessable bytes, none of them given out twice. For the event loop's own thread."""
    return _page.take(count)
