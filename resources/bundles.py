"""Bundles joined from the bytes of their entries: nothing is parsed (https://hl7.org/fhir/R4/bundle.html)."""

from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec

from resources.instants import instant_text
from resources.store import Version

Link = tuple[str, str]
"""Relation (self, first, next) and URL."""

Mode = Literal["match", "include", "outcome"]

_json = msgspec.json.Encoder().encode

_ENTRY = b'{"fullUrl":%b,"resource":%b,"search":{"mode":"%b"%b}}'
_OUTCOME = b'{"resource":%b,"search":{"mode":"outcome"}}'
_HISTORY = (
    b'{"fullUrl":%b,%b"request":{"method":"%b","url":"%b"},"response":{"status":"%b","etag":"W/\\"%d\\"","lastModified":"%b"}}'
)


def searchset(entries: Sequence[bytes], *, links: Iterable[Link], total: int | None) -> bytes:
    """The Bundle of a search's answer. `total` counts the matches of all pages; None: not known."""
    return bundle("searchset", entries, links=links, total=total)


def bundle(kind: str, entries: Sequence[bytes], *, links: Iterable[Link] = (), total: int | None = None) -> bytes:
    """A Bundle of type `kind` from finished entries; what is empty is left out (FHIR has no empty arrays)."""
    head = b'{"resourceType":"Bundle","type":"%b"' % kind.encode()
    if total is not None:
        head += b',"total":%d' % total
    written = b",".join(b'{"relation":"%b","url":%b}' % (relation.encode(), _json(url)) for relation, url in links)
    if written:
        head += b',"link":[%b]' % written
    return b'%b,"entry":[%b]}' % (head, b",".join(entries)) if entries else head + b"}"


def search_entry(base: str, type: str, id: str, body: bytes, mode: Mode = "match", score: float | None = None) -> bytes:
    """An entry of a searchset: a match (with its score from 0 to 1, if it has one), or what was included."""
    told = b"" if score is None else b',"score":%.6f' % score
    return _ENTRY % (_json(f"{base}/{type}/{id}"), body, mode.encode(), told)


def outcome_entry(outcome: bytes) -> bytes:
    """The entry of a searchset that tells about the search itself: an OperationOutcome."""
    return _OUTCOME % outcome


def history_entry(base: str, version: Version, body: bytes | None) -> bytes:
    """An entry of a history Bundle (https://hl7.org/fhir/R4/http.html#history). `body` is what is shown of the version."""
    created = version.method == "POST" or version.version == 1
    status = b"204" if version.body is None else b"201" if created else b"200"
    name = f"{version.type}/{version.id}"
    url = version.type if version.method == "POST" else name
    resource = b'"resource":%b,' % body if body is not None else b""
    when = instant_text(version.instant).encode()
    return _HISTORY % (_json(f"{base}/{name}"), resource, version.method.encode(), url.encode(), status, version.version, when)
