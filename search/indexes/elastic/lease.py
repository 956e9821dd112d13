"""Whose turn it is: one process at a time, agreed on through a document in Elasticsearch itself, so that any store will do.

No clocks are compared. Who holds a lease writes it anew every third of its span; who waits for it takes it over once it has seen it
unchanged for the whole span. A holder that was frozen and goes on may overlap with its successor for a moment: what is done under a
lease here may be done twice.
"""

import time
from secrets import token_hex
from typing import Any

import msgspec

from search.indexes.elastic.connection import Connection, Refused

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


class Lease:
    """A lease called `name`, kept in `index`. `span`: seconds after which a silent holder has lost it."""

    def __init__(self, connection: Connection, index: str, name: str, *, span: float = 3.0) -> None:
        self._connection, self._path, self._name, self._span = connection, f"/{index}", name, span
        self.owner = token_hex(8)
        self._renewed = -1e9
        self._mine: tuple[int, int] | None = None
        self._seen: tuple[tuple[int, int], float] | None = None

    @property
    def held(self) -> bool:
        """Whether it was held when it was last looked at."""
        return self._mine is not None

    async def hold(self) -> bool:
        """Take the lease, or keep it; False while another has it. Costs a request every third of the span only."""
        if self._mine is not None and time.monotonic() - self._renewed < self._span / 3:
            return True
        if self._mine is not None and await self._write(self._mine):
            return True
        held = await self._read()
        if held is None:
            return await self._write(None)
        version, owner = held
        if owner == self.owner or owner == "" or self._silent(version):
            return await self._write(version)
        self._mine = None
        return False

    async def taken(self) -> bool:
        """Whether somebody else holds it."""
        held = await self._read()
        return held is not None and held[1] not in ("", self.owner) and not self._silent(held[0])

    async def version(self) -> tuple[int, int] | None:
        """What changes whenever its holder renews it; None where nobody has ever held it. Raises Refused (404) without its index."""
        held = await self._read()
        return None if held is None else held[0]

    async def release(self) -> None:
        """Let the next one have it at once."""
        held = await self._read() if self._mine is not None else None
        self._mine = None
        if held is not None and held[1] == self.owner:
            await self._put(held[0], "")

    def _silent(self, version: tuple[int, int]) -> bool:
        now = time.monotonic()
        if self._seen is None or self._seen[0] != version:
            self._seen = (version, now)
        return now - self._seen[1] > self._span

    async def _read(self) -> tuple[tuple[int, int], str] | None:
        try:
            found: dict[str, Any] = _decode(
                await self._connection.call("GET", f"{self._path}/_doc/{self._name}", within=self._span)
            )
        except Refused as refusal:
            if refusal.status == 404 and "index_not_found" not in refusal.kind:
                return None
            raise
        return (found["_seq_no"], found["_primary_term"]), found["_source"].get("owner", "")

    async def _write(self, version: tuple[int, int] | None) -> bool:
        began = time.monotonic()
        self._mine = await self._put(version, self.owner)
        self._renewed = began
        return self._mine is not None

    async def _put(self, version: tuple[int, int] | None, owner: str) -> tuple[int, int] | None:
        path = f"{self._path}/_create/{self._name}" if version is None else f"{self._path}/_doc/{self._name}"
        params = {"if_seq_no": version[0], "if_primary_term": version[1]} if version is not None else None
        try:
            made = _decode(await self._connection.call("PUT", path, _encode({"owner": owner}), params=params, within=self._span))
        except Refused as refusal:
            if refusal.status == 409:
                return None
            raise
        return made["_seq_no"], made["_primary_term"]
