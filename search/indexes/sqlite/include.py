"""`_include` and `_revinclude`: the documents that a page's documents refer to, and those that refer to them."""

from collections.abc import Iterable, Sequence
from typing import Any

from resources.store import Key
from search.index import Included
from search.indexes.sqlite.access import Access
from search.indexes.sqlite.beside.canonicals import named, naming
from search.indexes.sqlite.custom.reading import fields_of, own_rows
from search.indexes.sqlite.rows import Row, unpack_rows
from search.indexes.sqlite.schema import FOLDED, NORMAL, Field
from search.query import Include
from search.values import hash64

_CHUNK = 200
_PACKED = "SELECT k.rows FROM item i CROSS JOIN packed k ON k.rid = i.rid WHERE"


def include(access: Access, keys: Sequence[Key], includes: Sequence[Include], limit: int) -> Included:
    """Each further document that `access` leaves once, at most `limit`. Inside a transaction of the reader.

    Includes that iterate are applied to what was included as well, until there is nothing new.
    """
    finder = _Finder(access, keys, limit)
    newest: Sequence[Key] = keys
    rules: Sequence[Include] = includes
    while newest and rules and not finder.truncated:
        before = len(finder.found)
        for rule in rules:
            finder.apply(rule, newest)
        newest = finder.found[before:]
        rules = [rule for rule in includes if rule.iterate]
    return Included(finder.found, finder.truncated)


class _Finder:
    def __init__(self, access: Access, keys: Sequence[Key], limit: int) -> None:
        self.access, self.reader, self.codes, self.limit = access, access.reader, access.codes, limit
        self.found: list[Key] = []
        self.truncated = False
        self._seen = set(keys)
        self._rows: dict[Key, list[Row]] = {}

    def apply(self, rule: Include, keys: Sequence[Key]) -> None:
        """Add what one rule finds from these keys."""
        if rule.reverse:
            wanted = [key for key in keys if rule.target in (None, key.type)]
            for start in range(0, len(wanted), _CHUNK):
                self._add(self._referring(rule, wanted[start : start + _CHUNK]))
            for parameter in rule.parameters:
                if parameter.canonicals:
                    self._add(naming(self.access, parameter, ((key, self._rows_of(key)) for key in wanted), self._most()))
        else:
            wanted = [key for key in keys if key.type == rule.source]
            for start in range(0, len(wanted), _CHUNK):
                self._add(self._referred(rule, wanted[start : start + _CHUNK]))
            for parameter in rule.parameters:
                if parameter.canonicals:
                    self._add(named(self.access, parameter, rule.target, (self._rows_of(key) for key in wanted), self._most()))

    def _add(self, keys: Iterable[Key]) -> None:
        for key in keys:
            if key in self._seen:
                continue
            if len(self.found) >= self.limit:
                self.truncated = True
                return
            self._seen.add(key)
            self.found.append(key)

    def _most(self) -> int:
        """How many rows tell whether there is more than has room: those known already may be among them and do not count."""
        return self.limit - len(self.found) + len(self._seen) + 1

    def _rows_of(self, key: Key) -> list[Row]:
        """The packed rows of a document, none if it is gone; remembered, since several rules may ask for them."""
        known = self._rows.get(key)
        if known is None:
            named = (key.id, self.codes.books[key.type].number)
            blobs = self.reader.rows(f"{_PACKED} i.rid = ? AND i.id = ? AND i.type = ?", (key.hint, *named)) if key.hint else []
            if not blobs:  # no hint, or one that points elsewhere
                blobs = self.reader.rows(f"{_PACKED} i.h = ? AND i.id = ? AND i.type = ?", (hash64(f"{key.type}/{key.id}"), *named))
            known = self._rows[key] = [row for (blob,) in blobs for row in unpack_rows(blob)[1]]
        return known

    def _own_rows(self, key: Key, added: Sequence[Field]) -> Sequence[Row]:
        """The packed rows of a document of added parameters."""
        if not added:
            return []
        named = (hash64(f"{key.type}/{key.id}"), key.id, self.codes.books[key.type].number)
        found = self.reader.rows("SELECT i.rid FROM item i WHERE i.h = ? AND i.id = ? AND i.type = ?", named)
        return [row for rows in own_rows(self.reader, added, [rid for (rid,) in found]).values() for row in rows]

    def _referred(self, rule: Include, keys: Sequence[Key]) -> list[Key]:
        """The documents of this server that the keys' documents refer to by the rule's parameters."""
        pids = {
            f.pid + role for p in rule.parameters if (f := self.codes.field(p)).kind == "reference" for role in (NORMAL, FOLDED)
        }
        added = fields_of(rule.parameters, self.codes)
        targets: dict[str, None] = {}
        for key in keys:
            for pid, v, _ in [*self._rows_of(key), *self._own_rows(key, added)]:
                if pid in pids:
                    targets[v] = None
        out = []
        for target in targets:
            type, slash, id = target.partition("/")
            if slash and rule.target in (None, type) and (row := self.access.row(Key(type, id))) is not None:
                out.append(Key(type, id, row))
        return out

    def _referring(self, rule: Include, keys: Sequence[Key]) -> list[Key]:
        """The documents of the rule's source type that refer to one of the keys, newest first, no more than the bound can take."""
        book = self.codes.books[rule.source]
        tests = self.access.tests(book)
        if tests is None:
            return []
        left, values = tests
        hashes = [hash64(f"{key.type}/{key.id}") for key in keys]
        marks = ", ".join("?" * len(hashes))
        texts, args = [], list[Any]()
        for parameter in rule.parameters:
            field = self.codes.field(parameter)
            if field.kind != "reference":
                continue
            texts.append(f"SELECT p.d, p.rid FROM idx p WHERE p.pid = ? AND p.v IN ({marks}){left}")
            args += [field.pid, *hashes, *values]
            if field.patient and any(key.type == "Patient" for key in keys):
                texts.append(f"SELECT p.d, p.rid FROM idx p WHERE p.pid = ? AND p.v IN ({marks}) AND p.w & ?{left}")
                args += [book.patient, *hashes, field.patient, *values]
        if not texts:
            return []
        rows = self.reader.rows(
            f"SELECT q.rid, i.id FROM ({' UNION '.join(texts)} ORDER BY 1 DESC, 2 DESC LIMIT ?) q CROSS JOIN item i ON i.rid = q.rid",
            [*args, self._most()],
        )
        return [Key(rule.source, id, rid) for rid, id in rows]
