"""A chunk of a source, item by item: what came before is told apart from what is new, the rest is written, and all of it put down."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec

from fhir_server.importing.fetching import Line
from fhir_server.importing.portions import Parsed, parsed
from fhir_server.importing.portions import Wrong as Refused
from fhir_server.migrating.contract import Chunk, Item, Problem, Wrong
from fhir_server.migrating.digest import digest_of
from fhir_server.migrating.ledger import Counts, Entry, Ledger, Target
from fhir_server.migrating.referring import targets
from fhir_server.migrating.writing import Receiver
from fhir_server.permission import APPEND_ONLY
from resources import documents
from resources.outcomes import FhirError


class Fresh(NamedTuple):
    """An item that is to be written, its hash, and what it refers to."""

    item: Item
    digest: bytes
    targets: tuple[tuple[str, str], ...]


class Chunks:
    """Writes chunks to `receiver`, of `types` that the store has. `strict`: two items of one id that differ are a mistake."""

    def __init__(self, receiver: Receiver, ledger: Ledger, types: frozenset[str], *, strict: bool) -> None:
        self._receiver, self._ledger, self._types, self._strict = receiver, ledger, types, strict

    async def write(self, chunk: Chunk) -> None:
        """Write a chunk and put down what came of it. Raises StoreUnavailable, FhirError."""
        counts: Counts = {name: Counter() for name in ("received", "written", "unchanged", "repeated", "failed")}
        counts["received"].update(item.type for item in chunk.items)
        counts["received"].update(each.type for each in chunk.wrong)
        wrong, entries, referred = list(chunk.wrong), list[Entry](), list[Target]()
        for group in _groups(chunk.items):
            type = group[0].type
            fresh = self._fresh(group, entries, wrong, counts["repeated"])
            if not fresh:
                continue
            came = await self._receiver.take(chunk.place.part, type, [each.item for each in fresh], [each.digest for each in fresh])
            lines = {each.line: each for each in came.wrong}
            for item, hash, some in fresh:
                if item.number in lines:
                    wrong.append(_told(item, lines[item.number]))
                    continue
                entries.append(Entry(type, item.id, hash, item.where))
                referred += [Target(*each, item.where) for each in some]
            counts["written"][type] += came.written
            counts["unchanged"][type] += came.same
        counts["failed"].update(each.type for each in wrong)
        self._ledger.put(entries, referred, wrong, counts, chunk.place)

    def _fresh(self, group: Sequence[Item], pending: Sequence[Entry], wrong: list[Wrong], repeated: Counter[str]) -> list[Fresh]:
        """The items of one type that have not come before."""
        type, found = group[0].type, list[Fresh]()
        if (problem := self._unfit(type)) is not None:
            wrong += [Wrong(type, item.where, (problem,)) for item in group]
            return []
        known = self._ledger.known(type, [item.id for item in group])
        known |= {entry.id: (entry.digest, entry.where) for entry in pending if entry.type == type}
        for item in group:
            read = _read(item)
            if isinstance(read, Wrong):
                wrong.append(read)
                continue
            before = known.get(item.id)
            if before is None:
                found.append(read)
            elif before[0] == read.digest or not self._strict:
                repeated[type] += 1
                found += [read] if before[0] != read.digest else []
            else:
                wrong.append(_twice(item, before[1]))
        return found

    def _unfit(self, type: str) -> Problem | None:
        if type in self._types and type not in APPEND_ONLY:
            return None
        return Problem("not-supported", f"{type[:64]} is no resource type of FHIR R4 that can be imported")


def _groups(items: Iterable[Item]) -> list[list[Item]]:
    """Items of one type, in order, no id twice in a group."""
    groups = list[list[Item]]()
    open: dict[str, tuple[list[Item], set[str]]] = {}
    for item in items:
        group, ids = open.get(item.type, ([], set()))
        if not group or item.id in ids:
            group, ids = open[item.type] = ([], set())
            groups.append(group)
        group.append(item)
        ids.add(item.id)
    return groups


def _read(item: Item) -> Fresh | Wrong:
    """The item, if it is a document of its type with an id."""
    found = parsed(Line(item.number, item.body, 0), item.type)
    if not isinstance(found, Parsed):
        return _told(item, found)
    try:
        document = documents.decode(item.body)
        return Fresh(item, digest_of(document), tuple(targets(document)))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, FhirError) as failure:
        text = str(failure) if isinstance(failure, FhirError) else "The resource is not JSON"
        return Wrong(item.type, item.where, (Problem("structure", text),))


def _twice(item: Item, before: str) -> Wrong:
    name = f"{item.type}/{item.id}"
    text = f"{name} was made before, with other content, by {before}: two rows need two ids, or the same content"
    return Wrong(item.type, item.where, (Problem("duplicate", text),))


def _told(item: Item, refused: Refused) -> Wrong:
    named = f"{item.where} ({item.type}/{item.id})" if item.id else item.where
    problems = tuple(Problem(code, f"{text}{item.column(place)}", place) for code, text, place in refused.issues)
    return Wrong(item.type, named, problems)
