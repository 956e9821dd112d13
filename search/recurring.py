"""Extraction from documents that resemble each other: what stood in an earlier one in the same bytes is not read again.

Meant for AuditEvents, of which there is one for every request: but for their time and what they touched they are nearly all the same.
"""

from resources.documents import decode, members
from search.extract import Extractor, Steps, entry_of, take
from search.values import Entry, Value

_MOST = 4_096
"""Members kept in mind; when there are more, all are forgotten and it begins anew."""

_LONGEST = 1_000
"""Bytes of a member that is kept in mind."""

_STAMP = frozenset(("versionId", "lastUpdated"))
"""What the store writes into `meta`: it differs each time, and no parameter's expression looks at it there."""


class Recurring:
    """Extracts documents of one type. `varying` are the members that differ from document to document, and are never kept in mind."""

    def __init__(self, extractor: Extractor, type: str, varying: frozenset[str]) -> None:
        self._extractor, self._type, self._varying = extractor, type, varying
        self._known: dict[tuple[str, bytes], dict[str, list[Value]]] = {}

    def extract(self, body: bytes) -> Entry:
        """The Entry of a stored document, the same as `Extractor.extract` makes of it."""
        plan = self._extractor.plan(self._type)
        if plan.always:
            return self._extractor.extract(self._type, decode(body))
        values: dict[str, list[Value]] = {}
        id = ""
        for name, raw in members(body).items():
            if name == "id":
                id = str(decode(bytes(raw)))
            steps = plan.by_key.get(name)
            if steps is None:
                continue
            more = self._values(name, bytes(raw), steps)
            if values.keys().isdisjoint(more):
                values.update(more)
            else:
                values |= {code: values[code] + found if code in values else found for code, found in more.items()}
        return entry_of(plan, self._type, id, values)

    def _values(self, name: str, raw: bytes, steps: Steps) -> dict[str, list[Value]]:
        if name == "meta":
            kept = [b'"%b":%b' % (key.encode(), bytes(value)) for key, value in members(raw).items() if key not in _STAMP]
            if not kept:
                return {}
            raw = b"{%b}" % b",".join(kept)
        if name in self._varying or len(raw) > _LONGEST:
            return _read(name, raw, steps)
        known = self._known.get((name, raw))
        if known is None:
            if len(self._known) >= _MOST:
                self._known.clear()
            known = self._known[(name, raw)] = _read(name, raw, steps)
        return known


def _read(name: str, raw: bytes, steps: Steps) -> dict[str, list[Value]]:
    values: dict[str, list[Value]] = {}
    take(steps, {name: decode(raw)}, values)
    return values
