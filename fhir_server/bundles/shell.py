"""A batch or transaction Bundle taken apart without parsing what it carries (https://hl7.org/fhir/R4/bundle.html).

Only the shell is decoded: each `entry.resource` stays the client's own bytes, to be checked once, later, by whoever handles the entry.
"""

import asyncio
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from urllib.parse import unquote

import msgspec

from resources.outcomes import FhirError, Issue, bad_request, error
from resources.structure import check

_CHUNK = 400
"""Entries whose shells are checked at a time (about 1 ms), so that other requests are served in between."""

_STAND_IN = b'{"resourceType":"Parameters"}'
_ENTRY_NUMBER = re.compile(r"^Bundle\.entry\[(\d+)\]")
_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"))
_BOM = b"\xef\xbb\xbf"


class _Request(msgspec.Struct, rename="camel"):
    method: str = ""
    url: str = ""
    if_match: str = ""
    if_none_match: str = ""
    if_modified_since: str = ""
    if_none_exist: str = ""


class _Entry(msgspec.Struct, rename="camel"):
    full_url: str = ""
    resource: msgspec.Raw = msgspec.Raw()
    request: _Request | None = None


class _Bundle(msgspec.Struct, rename="camel"):
    resource_type: str = ""
    type: str = ""
    entry: msgspec.Raw = msgspec.Raw()


_bundle = msgspec.json.Decoder(_Bundle)
_entries = msgspec.json.Decoder(list[msgspec.Raw])
_entry = msgspec.json.Decoder(_Entry)
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry, its request read. `path` and `query` are undecoded and relative to the base, `type` and `id` decoded parts of `path`.

    `body` is the resource's bytes (b"" if none), cut out of the Bundle's when asked for: a large Bundle is held in memory once.
    `headers` are the entry's conditions as HTTP headers, names in lower case.
    `fault` is what is wrong with the entry itself, if anything; then nothing else of it counts.
    """

    number: int
    full_url: str
    method: str
    path: str
    query: str
    type: str
    id: str
    resource: msgspec.Raw
    headers: dict[str, str]
    fault: FhirError | None = None

    @property
    def body(self) -> bytes:
        """The resource's own bytes."""
        return bytes(self.resource)

    @property
    def place(self) -> str:
        """The FHIRPath of the entry."""
        return f"Bundle.entry[{self.number}]"


@dataclass(frozen=True, slots=True)
class Shell:
    """A Bundle of `type` batch or transaction, and its entries in order."""

    type: str
    entries: tuple[Entry, ...]


async def split(body: bytes, base: str, most: int) -> Shell:
    """Takes the Bundle apart. `base` is stripped from absolute request URLs; `most` is the number of entries allowed.

    Raises FhirError: 400 where the body is no Bundle or its shell is wrong outside any entry (what is wrong inside an entry becomes the
    entry's `fault`), 413 where it has more than `most` entries.
    """
    body = body.removeprefix(_BOM)
    bundle = _outer(body)
    raw = _inner(bundle.entry) if bundle.entry else []
    if len(raw) > most:
        text = f"The Bundle has {len(raw)} entries; this server takes at most {most} at once (FHIR_MAX_BUNDLE_ENTRIES). Send it in parts."
        raise error(413, "too-costly", text, "Bundle.entry")
    faults = await _faults(body, bundle, raw)
    entries = []
    for number, item in enumerate(raw):
        entries.append(_read(number, item, base, faults.get(number)))
        if number % _CHUNK == _CHUNK - 1:
            await asyncio.sleep(0)
    return Shell(bundle.type, tuple(entries))


def _outer(body: bytes) -> _Bundle:
    """The Bundle's own members. Raises FhirError (400) with what the structural check says where they cannot be read."""
    try:
        bundle = _bundle.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as cause:
        issues = check(body)
        raise FhirError(400, issues or [Issue("error", "structure", f"The Bundle cannot be read: {cause}", "Bundle")]) from None
    if bundle.resource_type != "Bundle":
        raise bad_request(
            f"A Bundle of type batch or transaction is expected at the base URL, not {bundle.resource_type or 'something without a type'}; "
            "send a resource to the URL of its type",
            "resourceType",
        )
    return bundle


def _inner(raw: msgspec.Raw) -> list[msgspec.Raw]:
    try:
        return _entries.decode(raw)
    except msgspec.DecodeError:
        raise bad_request("Bundle.entry has to be an array of objects.", "Bundle.entry", "structure") from None


async def _faults(body: bytes, bundle: _Bundle, raw: list[msgspec.Raw]) -> dict[int, FhirError]:
    """The structural check of the shell, resources left out, in portions. Faults of entries by number; others are raised."""
    top, found = _top(body, bundle), list[Issue]()
    for start in range(0, max(len(raw), 1), _CHUNK):
        shells = b",".join(_without_resource(item) for item in raw[start : start + _CHUNK])
        try:
            issues = check(top % (b"[" + shells + b"]") if raw else body)
        except FhirError as unreadable:
            issues = unreadable.issues
        found += [_shifted(issue, start) for issue in issues if issue.severity in ("error", "fatal")]
        await asyncio.sleep(0)
    return _by_entry(found)


def _by_entry(found: list[Issue]) -> dict[int, FhirError]:
    faults: dict[int, list[Issue]] = {}
    outside = []
    for issue in found:
        number = _ENTRY_NUMBER.match(issue.expression or "")
        if number:
            faults.setdefault(int(number[1]), []).append(issue)
        else:
            outside.append(issue)
    if outside:
        raise FhirError(400, list(dict.fromkeys(outside)))
    return {number: FhirError(400, issues) for number, issues in faults.items()}


def _top(body: bytes, bundle: _Bundle) -> bytes:
    """The Bundle's bytes with a place for its entries: what stands before and after them is checked as the client wrote it."""
    inside = bytes(bundle.entry)
    at = body.find(inside) if inside else -1
    if at < 0:
        return body.replace(b"%", b"%%")
    return body[:at].replace(b"%", b"%%") + b"%b" + body[at + len(inside) :].replace(b"%", b"%%")


def _without_resource(item: msgspec.Raw) -> bytes:
    """An entry's bytes with its resource replaced by a small one. A repeated key stays, and is found by the check."""
    whole = bytes(item)
    try:
        resource = bytes(_members.decode(whole).get("resource", b""))
    except msgspec.DecodeError:
        return whole
    return whole.replace(resource, _STAND_IN, 1) if resource.startswith(b"{") else whole


def _shifted(issue: Issue, start: int) -> Issue:
    """The issue with the entry's number in the whole Bundle."""
    if not start or not issue.expression:
        return issue
    moved = _ENTRY_NUMBER.sub(lambda number: f"Bundle.entry[{int(number[1]) + start}]", issue.expression)
    return replace(issue, expression=moved)


def _read(number: int, item: msgspec.Raw, base: str, fault: FhirError | None) -> Entry:
    """One entry, or one that only carries its fault."""
    if fault is not None:
        return _faulty(number, fault)
    entry = _entry.decode(item)
    asked = entry.request
    try:
        if asked is None or not asked.url or not asked.method:
            raise bad_request(
                "The entry has no request: its method and url say what is to be done.", f"Bundle.entry[{number}].request"
            )
        if asked.method not in _METHODS:
            text = f"'{asked.method}' is not a method; use one of GET, HEAD, POST, PUT, PATCH, DELETE."
            raise bad_request(text, f"Bundle.entry[{number}].request.method", "code-invalid")
        path, query = _relative(asked.url, base, number)
    except FhirError as wrong:
        return _faulty(number, wrong)
    parts = tuple(unquote(part) for part in path.split("/") if part)
    return Entry(
        number,
        entry.full_url,
        asked.method,
        path,
        query,
        parts[0] if parts else "",
        parts[1] if len(parts) > 1 else "",
        entry.resource,
        dict(_headers(asked)),
    )


def _faulty(number: int, fault: FhirError) -> Entry:
    return Entry(number, "", "", "", "", "", "", msgspec.Raw(), {}, fault)


def _relative(url: str, base: str, number: int) -> tuple[str, str]:
    """A request URL as path and query relative to the base. Raises FhirError (400) for a URL of another server."""
    if url.startswith((base + "/", base + "?")):
        url = url[len(base) :]
    elif "://" in url.split("?", 1)[0]:
        text = f"'{url}' is not below this server's base {base}; use a URL relative to the base."
        raise bad_request(text, f"Bundle.entry[{number}].request.url")
    path, _, query = url.partition("?")
    return path.strip("/"), query


def _headers(asked: _Request) -> Iterator[tuple[str, str]]:
    for name, value in (
        ("if-match", asked.if_match),
        ("if-none-match", asked.if_none_match),
        ("if-modified-since", asked.if_modified_since),
        ("if-none-exist", asked.if_none_exist),
    ):
        if value:
            yield name, value
