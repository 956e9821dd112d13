"""The rules of Bundles beyond their invariants (https://hl7.org/fhir/R4/bundle.html).

fullUrls, references within documents and messages, links, and what a searchset may hold.
"""

import re
from collections.abc import Iterator
from typing import Any

from conformance.findings import Finding, Findings, Level, Scope, shown, under
from conformance.references import references
from conformance.rules.primitives import is_absolute

_REST = re.compile(r"(https?://.*/)([A-Z][A-Za-z]+)/([A-Za-z0-9\-.]{1,64})")
_LITERAL = re.compile(r"[A-Z][A-Za-z]+/[A-Za-z0-9\-.]{1,64}(/_history/[A-Za-z0-9\-.]{1,64})?")
_ONCE = frozenset(("self", "first", "last", "next", "prev", "previous"))

Json = dict[str, Any]


def bundle_check(bundle: Json, scope: Scope) -> Findings:
    """Everything that is wrong with a Bundle as a whole; its entries' resources are walked on their own."""
    kind = bundle.get("type")
    entries = [e for e in _list(bundle.get("entry")) if isinstance(e, dict)]
    found: list[Finding] = _links(bundle)
    for number, entry in enumerate(entries):
        more = _full_url(entry, kind)
        if kind == "searchset":
            more += _result(entry)
        found += under(f"entry[{number}]", more)
    if kind in ("document", "message") and entries:
        found += _closed(entries, kind)
    return found or None


def _list(value: Any) -> list[Any]:
    """`value` where it is a list; what structure refuses counts as nothing."""
    return value if isinstance(value, list) else []


def _links(bundle: Json) -> list[Finding]:
    found: list[Finding] = []
    seen = set()
    for number, link in enumerate(_list(bundle.get("link"))):
        relation = link.get("relation") if isinstance(link, dict) else None
        if not isinstance(relation, str):
            continue
        if relation in seen and relation in _ONCE:
            found.append(
                Finding(f"the relation {shown(relation)} stands twice; it may stand once", "duplicate", path=f"link[{number}]")
            )
        seen.add(relation)
    return found


def _full_url(entry: Json, kind: Any) -> list[Finding]:
    url, resource = entry.get("fullUrl"), entry.get("resource")
    if not isinstance(url, str):
        return []
    if not is_absolute(url):
        return [Finding(f"{shown(url)} is not absolute: a fullUrl is a URL of a server, urn:uuid:… or urn:oid:…", path="fullUrl")]
    match = _REST.fullmatch(url)
    if match is None or not isinstance(resource, dict):
        return []
    name, own = resource.get("resourceType"), resource.get("id")
    if (match[2] == name) is not (match[3] == own):
        text = f"{shown(url)} should end with {name}/{own or '[id]'}, the resource's own type and id"
        return [Finding(text, "value", "warning", path="fullUrl")]
    return []


def _result(entry: Json) -> list[Finding]:
    """An entry of a searchset: matches and includes have ids, outcomes are OperationOutcomes."""
    resource, search = entry.get("resource"), entry.get("search")
    if not isinstance(resource, dict):
        return []
    mode = search.get("mode") if isinstance(search, dict) else None
    name = resource.get("resourceType")
    if mode == "outcome" and name != "OperationOutcome":
        return [Finding(f"an entry with search.mode outcome holds an OperationOutcome, not a {name}", "invalid", path="resource")]
    if "id" not in resource and name != "OperationOutcome":
        return [Finding("a resource that was found has an id", "required", path="resource.id")]
    return []


class _Members:
    """What a document's or message's references can resolve to."""

    def __init__(self, entries: list[Json]) -> None:
        self._urls: dict[str, list[str | None]] = {}
        for entry in entries:
            url, resource = entry.get("fullUrl"), entry.get("resource")
            if isinstance(url, str) and isinstance(resource, dict):
                meta = resource.get("meta")
                self._urls.setdefault(url, []).append(meta.get("versionId") if isinstance(meta, dict) else None)

    def problem(self, reference: str, base: str | None) -> str | None:
        """Why `reference` (in an entry whose fullUrl is `base`) does not resolve to one member; None if it does."""
        if _LITERAL.fullmatch(reference):
            match = _REST.fullmatch(base or "")
            if match is None:
                return f"{shown(reference)} is relative, so the fullUrl of its entry must be the URL of a server (…/Type/id)"
            reference = match[1] + reference
        url, _, version = reference.partition("/_history/")
        versions = self._urls.get(url)
        if versions is None or (version and version not in versions):
            return f"{shown(reference)} is not in this Bundle: add the resource with that fullUrl"
        if not version and len(versions) > 1:
            return f"{shown(reference)} has {len(versions)} versions in this Bundle: say which with /_history/"
        return None


_CLOSED = {
    "Composition": ("subject", "encounter", "author", "custodian", "attester", "event", "section"),
    "MessageHeader": ("sender", "author", "enterer", "responsible", "focus"),
}


def _closed(entries: list[Json], kind: Any) -> Iterator[Finding]:
    """Documents and messages carry what their first resource refers to (https://hl7.org/fhir/R4/documents.html#content)."""
    first, base = entries[0].get("resource"), entries[0].get("fullUrl")
    if not isinstance(first, dict):
        return
    members = _Members(entries)
    names = _CLOSED.get(str(first.get("resourceType")), ())
    for expression, text in references(first):
        if expression.split(".")[1].split("[")[0] not in names or text.startswith("#"):
            continue
        problem = members.problem(text, base if isinstance(base, str) else None)
        if problem:
            path = expression.partition(".")[2]
            level: Level = "warning" if text.startswith("http") else "error"  # it may live on a server that the receiver can reach
            yield Finding(f"in a {kind}, {problem}", "not-found", level, path=f"entry[0].resource.{path}")
