"""Very many short texts in little more memory than their bytes: a million ids of eight letters take 22 MB, a set of str 94.

They lie in some thousands of byte strings by their checksum, one a line; whether one is there is asked of one of these strings.
"""

from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from zlib import crc32

_STRINGS = 1 << 14


class Lines:
    """Names, each with any number of values; neither has a tab or the end of a line in it."""

    def __init__(self) -> None:
        self._strings: dict[int, bytearray] = {}
        self.count = 0

    def add(self, name: str, value: str = "") -> None:
        """Keep another value of the name, unless it has it."""
        key = name.encode()
        line, place = b"%b\t%b\n" % (key, value.encode()), crc32(key) % _STRINGS
        lines = self._strings.get(place)
        if lines is None:
            lines = self._strings[place] = bytearray(b"\n")
        elif b"\n%b" % line in lines:
            return
        lines += line
        self.count += 1

    def has(self, name: str) -> bool:
        """Whether the name has any value."""
        key = name.encode()
        lines = self._strings.get(crc32(key) % _STRINGS)
        return lines is not None and b"\n%b\t" % key in lines

    def of(self, name: str) -> list[str]:
        """The values of the name, in the order in which they came."""
        key = name.encode()
        lines, start = self._strings.get(crc32(key) % _STRINGS, b""), b"\n%b\t" % key
        found, place = list[str](), lines.find(start)
        while place >= 0:
            end = lines.index(b"\n", place + 1)
            found.append(lines[place + len(start) : end].decode())
            place = lines.find(start, end)
        return found

    def names(self) -> Iterator[str]:
        """The names, once for each value, in the same order whenever they came."""
        for place in sorted(self._strings):
            yield from sorted(line.partition("\t")[0] for line in self._strings[place].decode()[1:-1].split("\n"))


class Names(AbstractSet[str]):
    """A set of names, which may grow."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._lines = Lines()
        self.update(names)

    def add(self, name: str) -> None:
        """Put one in, if it is not there."""
        self._lines.add(name)

    def update(self, names: Iterable[str]) -> None:
        """Put in those that are not there."""
        for name in names:
            self._lines.add(name)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._lines.has(name)

    def __iter__(self) -> Iterator[str]:
        return self._lines.names()

    def __len__(self) -> int:
        return self._lines.count
