"""The names and mappings of the indices: one index a resource type, behind aliases.

    PREFIX-FINGERPRINT-TYPE        alias to search by; there only once the index is complete
    PREFIX-FINGERPRINT-TYPE.in     alias that the feed writes to
    PREFIX-FINGERPRINT-TYPE-NUMBER the index
    PREFIX-FINGERPRINT.feed        what those that feed it note down

The fingerprint follows from the mappings and search definitions: a release that changes them makes indices of its own beside the old
ones, and never searches fields that an older one did not fill.
"""

from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from hashlib import blake2b
from typing import Any

from search.indexes.elastic.fields import MAPPINGS
from search.indexes.elastic.texts import MAPPING
from search.parameter import SearchParameter
from search.parameters import Parameters
from search.query import FACETS
from search.types.kinds import MODIFYING

LAYOUT = 4
"""Goes up whenever the fields of a document change their meaning without their mapping."""

_COMMON: Mapping[str, Any] = {
    "id": {"type": "keyword"},
    "updated": {"type": "long"},
    "position": {"type": "long", "index": False},
    "date": {"type": "long"},
    "patients": {"type": "keyword", "doc_values": False},
    "present": {"type": "keyword", "doc_values": False},
    "c": {"dynamic": "false", "properties": {}},
    **MAPPING,
}
"""Of every document: its id; its last update and `Entry.date`, in microseconds since the epoch; its position in the
store; the patients in whose compartments it lies; the codes of the parameters whose element it has; its words."""

GROUPED: Mapping[str, tuple[str, ...]] = {"Observation": ("code",)}
"""Type -> the token parameters whose codes can be read back, to group by them (`beside/latest.py`)."""

_FEED: Mapping[str, Any] = {
    "owner": {"type": "keyword"},
    "type": {"type": "keyword"},
    "id": {"type": "keyword"},
    "position": {"type": "long"},
    "reason": {"type": "keyword"},
}

SETTINGS: Mapping[str, Any] = {
    "index.number_of_shards": 1,
    "index.auto_expand_replicas": "0-1",
    "index.refresh_interval": "5s",
    "index.gc_deletes": "1h",
}
"""What the index template says; a template of the people who run it with a higher priority wins.

`gc_deletes`: how long a deletion is remembered, so that an older version that is sent late does not come back."""


NEEDED: Mapping[str, Any] = {
    "index.max_terms_count": 65_536,
    "index.max_regex_length": 8_192,
    "index.mapping.total_fields.limit": 20_000,
}
"""Limits that every index is made with, because searches rely on them (`max_regex_length` counts for prefixes too); added parameters
bring fields of their own."""


class Layout:
    """The names and mappings under one prefix, for these definitions."""

    def __init__(self, parameters: Parameters, prefix: str = "fhir") -> None:
        self.parameters, self.prefix = parameters, prefix
        self.fingerprint = _fingerprint(parameters)
        self.root = f"{prefix}-{self.fingerprint}"
        self._types = {name.lower(): name for name in parameters.types}

    @property
    def feed(self) -> str:
        """The index of what feeders note down."""
        return f"{self.root}.feed"

    def alias(self, type: str) -> str:
        """What searches of the type use."""
        return f"{self.root}-{type.lower()}"

    def entrance(self, type: str) -> str:
        """What the feed writes documents of the type to."""
        return f"{self.alias(type)}.in"

    def type_of(self, alias: str) -> str | None:
        """The type whose alias (of either kind) it is; None for any other name."""
        return self._types.get(alias.removesuffix(".in").removeprefix(f"{self.root}-"))

    def mapping(self, type: str) -> dict[str, Any]:
        """The type's mapping: only what is named in it may stand in a document. The documents themselves are the store's to keep."""
        return {"dynamic": "strict", "_source": {"enabled": False}, "properties": _properties(self.parameters, type)}

    def added(self, parameters: Iterable[SearchParameter]) -> dict[str, Any]:
        """What the mapping of a type says of parameters that were added to this server. Values of others stay unread: a document may come
        with the values of a parameter before its index knows of it."""
        return {parameter.stored: {"properties": MAPPINGS[parameter.kind]} for parameter in parameters}

    def feed_mapping(self) -> dict[str, Any]:
        """The mapping of the feed's own index."""
        return {"dynamic": "strict", "properties": _FEED}

    def template(self) -> dict[str, Any]:
        """The index template of all indices of this prefix. What is written to one that is gone must not make it anew: it would
        have no mapping."""
        common = {"index_patterns": [f"{self.prefix}-*"], "priority": 100, "allow_auto_create": False}
        return {**common, "template": {"settings": SETTINGS}}


def kinds(parameters: Parameters, type: str) -> Mapping[str, str]:
    """Key of `Entry.values` -> kind of the values that an index of the type keeps: those of parameters, and what modifiers look at."""
    mine = [
        p
        for p in parameters.of(type).values()
        if p.searchable and p.kind in MAPPINGS and p.stored in ("", p.code) and p.code not in ("_id", "_lastUpdated")
    ]
    containing = parameters.containing(type)
    hidden = {containing.code: containing.kind} if containing is not None else {}
    return {**{code: kind for p in mine for code, kind in _held(p, p.code)}, **hidden}


def _held(parameter: SearchParameter, code: str) -> Iterator[tuple[str, str]]:
    """Key of `Entry.values` and kind: of the parameter itself, and of what its modifiers look at."""
    yield code, parameter.kind
    for modifier, facet in MODIFYING.items():
        if parameter.kind == facet.KIND:
            yield f"{code}:{modifier}", FACETS[modifier]


def _properties(parameters: Parameters, type: str) -> dict[str, Any]:
    mine = {code: {"properties": MAPPINGS[kind]} for code, kind in sorted(kinds(parameters, type).items())}
    for code in GROUPED.get(type, ()):
        mine[code] = {"properties": {**MAPPINGS["token"], "t": {"type": "keyword"}}}
    return {**_COMMON, "p": {"properties": mine}}


@cache
def _fingerprint(parameters: Parameters) -> str:
    texts = [
        repr((p.type, p.code, p.kind, p.expression, p.targets)) for type in parameters.types for p in parameters.of(type).values()
    ]
    digest = blake2b(repr((LAYOUT, _COMMON, MAPPINGS, GROUPED)).encode(), digest_size=4)
    for text in sorted(texts):
        digest.update(text.encode())
    return digest.hexdigest()
