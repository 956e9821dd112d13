"""`_include` and `_revinclude`, and what an access decision leaves of given keys: each step one request, whatever the page's size."""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from resources.store import Key
from search.index import Included
from search.indexes.elastic.compile import access_parts, all_of
from search.indexes.elastic.connection import Connection
from search.indexes.elastic.fields import path
from search.indexes.elastic.layout import Layout
from search.indexes.elastic.terms import Json, any_of, one_of
from search.query import Compartment, Grants, Include

_encode = msgspec.json.Encoder().encode
_NEWEST: list[Json] = [{"date": "desc"}, {"id": "desc"}]
_MOST = 10_000
"""Documents of one answer: Elasticsearch's own limit on a page."""


class _Hit(msgspec.Struct):
    fields: dict[str, list[Any]] = {}
    score: float | None = msgspec.field(name="_score", default=None)


class _Hits(msgspec.Struct):
    hits: list[_Hit] = []


class _Shards(msgspec.Struct):
    total: int = 0


class _Answer(msgspec.Struct):
    hits: _Hits = msgspec.field(default_factory=_Hits)
    error: dict[str, Any] | None = None


class _Answers(msgspec.Struct):
    responses: list[_Answer] = []


_decode = msgspec.json.Decoder(_Answers).decode


class Access:
    """A decision's compartments and grants, applied to what is looked up."""

    def __init__(
        self, connection: Connection, layout: Layout, limit: float, compartments: Sequence[Compartment], allowed: Grants | None
    ) -> None:
        self._connection, self._layout, self._limit = connection, layout, limit
        self._compartments, self._allowed = tuple(compartments), allowed
        self._known = frozenset(layout.parameters.types)

    async def within(self, keys: Sequence[Key]) -> list[Key]:
        """Those of the keys, in their order, that are there and left."""
        there: set[Key] = set()
        wanted = _by_type(key for key in keys if key.type in self._known)
        asked = [(type, self.body(type, one_of("id", ids[at : at + _MOST]), _MOST)) for type, ids in wanted for at in _steps(ids)]
        for (type, _), hits in zip(asked, await self.ask(asked), strict=True):
            there.update(Key(type, str(hit.fields["id"][0])) for hit in hits)
        return [key for key in keys if key in there]

    def body(self, type: str, found: Sequence[Json], size: int, fields: Sequence[str] = ()) -> Json:
        """A search for documents of the type that one of the queries finds and the decision leaves, the newest first."""
        return {
            "size": size,
            "query": all_of([any_of(found), *access_parts(type, self._compartments, self._allowed)]),
            "sort": _NEWEST,
            "track_total_hits": False,
            "_source": False,
            "stored_fields": "_none_",
            "docvalue_fields": ["id", *fields],
        }

    async def ask(self, asked: Sequence[tuple[str, Json]]) -> list[list[_Hit]]:
        """What each (type, search) finds, in one request. A type without an index has nothing."""
        if not asked:
            return []
        lines = []
        for type, body in asked:
            lines += [
                _encode({"index": self._layout.alias(type), "ignore_unavailable": True, "allow_partial_search_results": False}),
                _encode(body),
            ]
        params = {"filter_path": "responses.hits.hits.fields,responses.hits.hits._score,responses.error.type,responses.status"}
        sent = b"\n".join(lines) + b"\n"
        answer = await self._connection.call("POST", "/_msearch", sent, params=params, lines=True, within=self._limit)
        responses = _decode(answer).responses
        assert all(one.error is None for one in responses), "a look-up was refused"
        return [one.hits.hits for one in responses]


def _by_type(keys: Iterable[Key]) -> list[tuple[str, list[str]]]:
    found: dict[str, list[str]] = {}
    for key in dict.fromkeys(keys):
        found.setdefault(key.type, []).append(key.id)
    return list(found.items())


def _steps(ids: Sequence[str]) -> range:
    return range(0, len(ids), _MOST)


async def include(access: Access, keys: Sequence[Key], includes: Sequence[Include], limit: int) -> Included:
    """Each further document that the decision leaves once, at most `limit`.

    Includes that iterate are applied to what was included as well, until there is nothing new.
    """
    seen, found = set(keys), list[Key]()
    newest: Sequence[Key] = keys
    rules: Sequence[Include] = includes
    while newest and rules:
        before = len(found)
        for key in await _round(access, rules, newest, limit - len(found) + len(seen) + 1):
            if key in seen:
                continue
            if len(found) >= limit:
                return Included(found, truncated=True)
            seen.add(key)
            found.append(key)
        newest, rules = found[before:], [rule for rule in includes if rule.iterate]
    return Included(found)


async def _round(access: Access, rules: Sequence[Include], keys: Sequence[Key], enough: int) -> list[Key]:
    """What all rules lead to from these keys, in the rules' order; of those that refer to them, no more than `enough`."""
    asked: list[tuple[str, Json]] = []
    places: list[tuple[Include, int]] = []
    for rule in rules:
        body = _referring(access, rule, keys, enough) if rule.reverse else _referred(rule, keys)
        if body is not None:
            places.append((rule, len(asked)))
            asked.append((rule.source, body))
    answers = await access.ask(asked)
    led: list[Key] = []
    forward: list[Key] = []
    for rule, place in places:
        if rule.reverse:
            led += [Key(rule.source, str(hit.fields["id"][0])) for hit in answers[place]]
        else:
            targets = _targets(rule, answers[place])
            forward += targets
            led += targets
    there = set(await access.within(list(dict.fromkeys(forward))))
    unchecked = set(forward)
    return [key for key in led if key not in unchecked or key in there]


def _fields(rule: Include) -> list[str]:
    return [f"{path(p)}.t" for p in rule.parameters if p.kind == "reference"]


def _referred(rule: Include, keys: Sequence[Key]) -> Json | None:
    """The search for the references of the keys' own documents. These are not checked again."""
    ids, fields = [key.id for key in keys if key.type == rule.source], _fields(rule)
    if not ids or not fields:
        return None
    return {
        "size": min(len(ids), _MOST),
        "query": any_of(one_of("id", ids)),
        "sort": _NEWEST,
        "track_total_hits": False,
        "_source": False,
        "stored_fields": "_none_",
        "docvalue_fields": fields,
    }


def _referring(access: Access, rule: Include, keys: Sequence[Key], enough: int) -> Json | None:
    """The search for the documents that refer to one of the keys."""
    targets = [f"{key.type}/{key.id}" for key in keys if rule.target in (None, key.type)]
    found = [query for field in _fields(rule) for query in one_of(field, targets)]
    return access.body(rule.source, found, min(enough, _MOST)) if targets and found else None


def _targets(rule: Include, hits: Sequence[_Hit]) -> list[Key]:
    out: dict[Key, None] = {}
    for hit in hits:
        for values in hit.fields.values():
            for target in values:
                type, slash, id = str(target).partition("/")
                if slash and rule.target in (None, type):
                    out[Key(type, id)] = None
    return list(out)
