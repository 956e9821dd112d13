"""Names of resource types as the small numbers that stand in the store's rows."""

from hashlib import blake2b

import apsw

from resources.store import Method
from resources.stores.sqlite.schema import rows

METHODS: tuple[Method, ...] = ("POST", "PUT", "PATCH", "DELETE")


class Types:
    """Type name <-> number. A number is given at a type's first write and kept for ever; other processes may give some too."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._numbers: dict[str, int] = {}
        self._names: dict[int, str] = {}

    def load(self) -> None:
        """Read the numbers from the file."""
        for number, name in rows(self._connection, "SELECT number, name FROM type"):
            self._numbers[name], self._names[number] = number, name

    def forget(self) -> None:
        """Drop what was learnt in a transaction that was rolled back, and read again."""
        self._numbers.clear()
        self._names.clear()
        self.load()

    def number(self, name: str) -> int:
        """The type's number, given now if it has none. Only inside a write transaction."""
        number = self._numbers.get(name)
        if number is None:
            self.load()
            number = self._numbers.get(name)
        if number is None:
            number = int(rows(self._connection, "INSERT INTO type (name) VALUES (?) RETURNING number", (name,))[0][0])
            self._numbers[name], self._names[number] = number, name
        return number

    def known(self, name: str) -> int | None:
        """The type's number, or None if nothing of it was ever written."""
        number = self._numbers.get(name)
        if number is None:
            self.load()
            number = self._numbers.get(name)
        return number

    def name(self, number: int) -> str:
        """The name of a number that stands in a row."""
        if number not in self._names:
            self.load()
        return self._names[number]


def row_hash(type: str, id: str) -> int:
    """The signed 64-bit hash under which a resource's row is found."""
    return int.from_bytes(blake2b(f"{type}/{id}".encode(), digest_size=8).digest(), "little", signed=True)
