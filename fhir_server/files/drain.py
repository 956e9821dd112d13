"""What libraries write into that want a file, such as those of Arrow: it is emptied while it is written."""

import io
from typing import Any


class Drain(io.RawIOBase):
    """A file that keeps only what was not taken yet."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._length = 0

    def writable(self) -> bool:
        """True."""
        return True

    def tell(self) -> int:
        """How many bytes were written."""
        return self._length

    def write(self, data: Any) -> int:
        """Keep bytes, or what has them; how many they are."""
        piece = bytes(data)
        self._pieces.append(piece)
        self._length += len(piece)
        return len(piece)

    def take(self) -> bytes:
        """What was written since the last time."""
        made = b"".join(self._pieces)
        self._pieces.clear()
        return made
