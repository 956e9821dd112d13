"""`_include` and `_revinclude`: the documents that a page's documents refer to, and those that refer to them."""

from collections.abc import Iterable, Sequence
from typing import Any

from resources.store import Key
from search.index import Included
from search.indexes.sqlite_reader import Reader
from search.indexes.sqlite_rows import unpack_rows
from search.indexes.sqlite_schema import FOLDED, NORMAL, Codebook
from search.query import Include
from search.values import hash64

_CHUNK = 200


def include(reader: Reader, codes: Codebook, keys: Sequence[Key], includes: Sequence[Include], limit: int) -> Included:
    """Each further document once, at most `limit`. Inside a transaction of the reader.

    Includes that iterate are applied to what was included as well, until there is nothing new.
    """
    finder = _Finder(reader, codes, keys, limit)
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
    def __init__(self, reader: Reader, codes: Codebook, keys: Sequence[Key], limit: int) -> None:
        self.reader, self.codes, self.limit = reader, codes, limit
        self.found: list[Key] = []
        self.truncated = False
        self._seen = set(keys)

    def apply(self, rule: Include, keys: Sequence[Key]) -> None:
        """Add what one rule finds from these keys."""
        if rule.reverse:
            wanted = [key for key in keys if rule.target in (None, key.type)]
            for start in range(0, len(wanted), _CHUNK):
                self._add(self._referring(rule, wanted[start : start + _CHUNK]))
        else:
            wanted = [key for key in keys if key.type == rule.source]
            for start in range(0, len(wanted), _CHUNK):
                self._add(self._referred(rule, wanted[start : start + _CHUNK]))

    def _add(self, keys: Iterable[Key]) -> None:
        for key in keys:
            if key in self._seen:
                continue
            if len(self.found) >= self.limit:
                self.truncated = True
                return
            self._seen.add(key)
            self.found.append(key)

    def _rows_of(self, keys: Sequence[Key]) -> list[bytes]:
        """The packed rows of documents that are still there, in order. A hint that points elsewhere does no harm."""
        out = []
        for key in keys:
            blobs = self.reader.rows(
                "SELECT k.rows FROM item i CROSS JOIN packed k ON k.rid = i.rid WHERE i.rid = ? AND i.id = ? AND i.type = ?"
                if key.hint
                else "SELECT k.rows FROM item i CROSS JOIN packed k ON k.rid = i.rid WHERE i.h = ? AND i.id = ? AND i.type = ?",
                (key.hint or hash64(f"{key.type}/{key.id}"), key.id, self.codes.books[key.type].number),
            )
            out += [blob for (blob,) in blobs]
        return out

    def _referred(self, rule: Include, keys: Sequence[Key]) -> list[Key]:
        """The documents of this server that the keys' documents refer to by the rule's parameters."""
        pids = {
            f.pid + role for p in rule.parameters if (f := self.codes.field(p)).kind == "reference" for role in (NORMAL, FOLDED)
        }
        targets: dict[str, None] = {}
        for blob in self._rows_of(keys):
            for pid, v, _ in unpack_rows(blob)[1]:
                if pid in pids:
                    targets[v] = None
        out = []
        for target in targets:
            type, slash, id = target.partition("/")
            book = self.codes.books.get(type)
            if not slash or book is None or rule.target not in (None, type):
                continue
            rids = self.reader.rows("SELECT rid FROM item WHERE h = ? AND id = ? AND type = ?", (hash64(target), id, book.number))
            out += [Key(type, id, rid) for (rid,) in rids]
        return out

    def _referring(self, rule: Include, keys: Sequence[Key]) -> list[Key]:
        """The documents of the rule's source type that refer to one of the keys, newest first, no more than the bound can take."""
        book = self.codes.books[rule.source]
        hashes = [hash64(f"{key.type}/{key.id}") for key in keys]
        marks = ", ".join("?" * len(hashes))
        texts, args = [], list[Any]()
        for parameter in rule.parameters:
            field = self.codes.field(parameter)
            if field.kind != "reference":
                continue
            texts.append(f"SELECT p.d, p.rid FROM idx p WHERE p.pid = ? AND p.v IN ({marks})")
            args += [field.pid, *hashes]
            if field.patient and any(key.type == "Patient" for key in keys):
                texts.append(f"SELECT p.d, p.rid FROM idx p WHERE p.pid = ? AND p.v IN ({marks}) AND p.w & ?")
                args += [book.patient, *hashes, field.patient]
        if not texts:
            return []
        known = len(self._seen)  # each of these may be among the rows and does not count
        rows = self.reader.rows(
            f"SELECT q.rid, i.id FROM ({' UNION '.join(texts)} ORDER BY 1 DESC, 2 DESC LIMIT ?) q CROSS JOIN item i ON i.rid = q.rid",
            [*args, self.limit - len(self.found) + known + 1],
        )
        return [Key(rule.source, id, rid) for rid, id in rows]
