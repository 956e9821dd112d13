"""`_include` and `_revinclude`, and what an access decision leaves of given keys: each step one request, whatever the page's size."""

from collections.abc import Iterable, Iterator, Sequence

from resources.store import Key
from search.index import Included
from search.indexes.elastic.beside import canonicals
from search.indexes.elastic.beside.asking import PAGE, Asking, Hit
from search.indexes.elastic.compile import access_parts, all_of
from search.indexes.elastic.fields import path
from search.indexes.elastic.terms import Json, any_of, one_of
from search.parameter import Canonical
from search.query import Compartment, Grants, Include

_NEWEST: list[Json] = [{"date": "desc"}, {"id": "desc"}]


class Access:
    """A decision's compartments and grants, applied to what is looked up."""

    def __init__(self, asking: Asking, compartments: Sequence[Compartment], allowed: Grants | None) -> None:
        self._asking = asking
        self._compartments, self._allowed = tuple(compartments), allowed
        self._known = frozenset(asking.layout.parameters.types)

    async def within(self, keys: Sequence[Key]) -> list[Key]:
        """Those of the keys, in their order, that are there and left."""
        there: set[Key] = set()
        wanted = _by_type(key for key in keys if key.type in self._known)
        asked = [(type, self.body(type, one_of("id", ids[at : at + PAGE]), PAGE)) for type, ids in wanted for at in _steps(ids)]
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

    async def ask(self, asked: Sequence[tuple[str, Json]]) -> list[list[Hit]]:
        """What each (type, search) finds, in one request. A type without an index has nothing."""
        return [one.hits.hits for one in await self._asking.many(asked)] if asked else []

    async def ask_all(self, asked: Sequence[tuple[str, Json]]) -> list[list[Hit]]:
        """The same for searches of any `size`: what an answer cannot hold at once is asked for after it."""
        found: list[list[Hit]] = [[] for _ in asked]
        open = {number: (type, body) for number, (type, body) in enumerate(asked)}
        while open:
            asking = [(type, {**body, "size": min(body["size"], PAGE)}) for type, body in open.values()]
            further = {}
            for (number, (type, body)), hits in zip(open.items(), await self.ask(asking), strict=True):
                found[number] += hits
                if len(hits) == PAGE and body["size"] > PAGE:
                    further[number] = (type, {**body, "size": body["size"] - PAGE, "search_after": hits[-1].sort})
            open = further
        return found


def _by_type(keys: Iterable[Key]) -> list[tuple[str, list[str]]]:
    found: dict[str, list[str]] = {}
    for key in dict.fromkeys(keys):
        found.setdefault(key.type, []).append(key.id)
    return list(found.items())


def _steps(ids: Sequence[str]) -> range:
    return range(0, len(ids), PAGE)


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
    owners = list(_owners(rules, keys))
    answers = await access.ask_all([*asked, *((canonical.type, body) for _, canonical, body in owners)])
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
    named = await _named(
        access, [(rule, answers[place]) for rule, place in places], zip(owners, answers[len(asked) :], strict=True), enough
    )
    return [*(key for key in led if key not in unchecked or key in there), *named]


Owner = tuple[Include, Canonical, Json]


def _owners(rules: Iterable[Include], keys: Sequence[Key]) -> Iterator[Owner]:
    """For rules that look for those that name the keys' documents by their URLs: the searches for these."""
    for rule in rules:
        for type, canonical in canonicals.followed(rule).items() if rule.reverse else ():
            body = _own(type, keys, canonicals.own_fields(canonical))
            if body is not None:
                yield rule, canonical, body


async def _named(
    access: Access,
    referred: Iterable[tuple[Include, Sequence[Hit]]],
    owners: Iterable[tuple[Owner, Sequence[Hit]]],
    enough: int,
) -> list[Key]:
    """What the rules lead to by canonical URLs, from the values of the documents that they begin with."""
    asked: list[tuple[str, Json]] = []
    for rule, hits in referred:
        found = canonicals.ends(rule, canonicals.of_sources(rule, hits)) if not rule.reverse else ()
        asked += [(type, access.body(type, queries, enough)) for type, queries in found]
    for (rule, canonical, _), hits in owners:
        wanted = canonicals.of_ends(rule, [(canonical, hit) for hit in hits])
        asked += [(rule.source, access.body(rule.source, queries, enough)) for queries in canonicals.sources(wanted)]
    answers = await access.ask_all(asked)
    return [Key(type, str(hit.fields["id"][0])) for (type, _), hits in zip(asked, answers, strict=True) for hit in hits]


def _fields(rule: Include) -> list[str]:
    return [f"{path(p)}.t" for p in rule.parameters if p.kind == "reference"]


def _referred(rule: Include, keys: Sequence[Key]) -> Json | None:
    """The search for the references of the keys' own documents. These are not checked again."""
    return _own(rule.source, keys, _fields(rule))


def _own(type: str, keys: Sequence[Key], fields: Sequence[str]) -> Json | None:
    """The search for these fields of those of the keys' documents that are of the type."""
    ids = [key.id for key in keys if key.type == type]
    if not ids or not fields:
        return None
    return {
        "size": len(ids),
        "query": any_of(one_of("id", ids)),
        "sort": _NEWEST,
        "track_total_hits": False,
        "_source": False,
        "stored_fields": "_none_",
        "docvalue_fields": list(fields),
    }


def _referring(access: Access, rule: Include, keys: Sequence[Key], enough: int) -> Json | None:
    """The search for the documents that refer to one of the keys."""
    targets = [f"{key.type}/{key.id}" for key in keys if rule.target in (None, key.type)]
    found = [query for field in _fields(rule) for query in one_of(field, targets)]
    return access.body(rule.source, found, enough) if targets and found else None


def _targets(rule: Include, hits: Sequence[Hit]) -> list[Key]:
    out: dict[Key, None] = {}
    for hit in hits:
        for values in hit.fields.values():
            for target in values:
                type, slash, id = str(target).partition("/")
                if slash and rule.target in (None, type):
                    out[Key(type, id)] = None
    return list(out)
