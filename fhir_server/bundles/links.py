"""References between the entries of a transaction, and references by criteria, replaced by what they turn out to mean.

https://hl7.org/fhir/R4/http.html#trules: links to another entry's fullUrl are replaced in references, in elements of type uri, url,
oid and uuid, and in the narrative's `href` and `src`; elements of type canonical are left alone. Nothing else of the client's
bytes changes: nearly all links are found and replaced in the bytes themselves, and only a document that spells a link in another place
or with escapes is decoded, walked along its types, and encoded again (numbers keep their digits).
"""

import re
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any

from conformance.load import definitions
from resources import documents

Lookup = Callable[[str], str | None]

_REFERENCE = re.compile(rb'("reference"\s*:\s*")([^"\\]+)(")')
_BY_CRITERIA = re.compile(r"^[A-Z][A-Za-z]{1,63}\?")
_NARRATIVE = re.compile(r"""(\b(?:href|src)\s*=\s*)("[^"]*"|'[^']*')""")
_ESCAPED = re.compile(rb"\\(?:/|u(?!003[cCeE]))")
"""Escapes that may hide a link: not those of < and >, which many programs write for a narrative's tags, and which stand in no URL."""
_LINK_TYPES = frozenset(("uri", "url", "oid", "uuid"))
_VERSIONED = re.compile(r"^(.+)/_history/([A-Za-z0-9\-.]{1,64})$")
_RESTFUL = re.compile(r"^(https?://.+/)[A-Z][A-Za-z]+/[A-Za-z0-9\-.]{1,64}$")


class Links:
    """Which text stands for which resource of the Bundle. Filled with `add`, then asked by `lookup`."""

    def __init__(self) -> None:
        self._exact: dict[str, str] = {}
        self._created: set[str] = set()
        self.criteria: dict[str, str] = {}

    def add(self, full_url: str, target: str, *, created: bool) -> None:
        """Links to `full_url` mean `target` ("Patient/1"). `created`: its first version is made by this transaction."""
        if full_url and full_url != target:
            self._exact[full_url] = target
            if created:
                self._created.add(full_url)

    def lookup(self, root: str) -> Lookup:
        """What to write instead of a link, or None to leave it. `root`: where the entry with the link lives, for relative links."""

        def find(link: str) -> str | None:
            return self._find(link) or (self._find(root + link) if root and "/" in link and ":" not in link else None)

        return find

    def _find(self, link: str) -> str | None:
        target = self._exact.get(link) or self.criteria.get(link)
        if target is None and "#" in link:
            address, _, fragment = link.partition("#")
            found = self._find(address)
            return f"{found}#{fragment}" if found else None
        if target is None and "/_history/" in link:
            return self._versioned(link)
        return target

    def _versioned(self, link: str) -> str | None:
        """A link to a version: the first one if the resource is made here, else the one asked for."""
        parts = _VERSIONED.match(link)
        target = self._exact.get(parts[1]) if parts else None
        if parts is None or target is None:
            return None
        return f"{target}/_history/{1 if parts[1] in self._created else parts[2]}"

    def needles(self) -> tuple[bytes, ...]:
        """Beginnings of which one stands in every document that may need the slow way."""
        starts = {_needle(url) for url in self._exact}
        return tuple(sorted(starts))


def root_of(full_url: str) -> str:
    """The base of a RESTful fullUrl, with its slash ("" for urn:uuid:… and the like): where relative links of the entry point."""
    parts = _RESTFUL.match(full_url)
    return parts[1] if parts else ""


def _needle(url: str) -> bytes:
    scheme, colon, rest = url.partition(":")
    kind = rest.partition(":")[0] if scheme == "urn" else ""
    return f"{scheme}:{kind}:".encode() if kind else (root_of(url) or scheme + colon).encode()


def criteria_in(body: bytes) -> Iterator[str]:
    """Every reference by criteria (`Practitioner?identifier=…`) in the document's bytes."""
    for found in _REFERENCE.finditer(body):
        if b"?" in found[2]:
            link = found[2].decode()
            if _BY_CRITERIA.match(link):
                yield link
    if b"?" in body and _ESCAPED.search(body):
        yield from _criteria_decoded(documents.decode(body))


def _criteria_decoded(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        link = node.get("reference")
        if isinstance(link, str) and _BY_CRITERIA.match(link):
            yield link
        for value in node.values():
            yield from _criteria_decoded(value)
    elif isinstance(node, list):
        for value in node:
            yield from _criteria_decoded(value)


def place_of(body: bytes, link: str) -> str:
    """The FHIRPath of the first reference that says `link`, below the resource (`subject.reference`); for error texts."""
    return next(_places(documents.decode(body), link), "")


def _places(node: Any, link: str, path: str = "") -> Iterator[str]:
    if isinstance(node, dict):
        for name, value in node.items():
            place = f"{path}.{name}"
            if name == "reference" and value == link:
                yield place
            yield from _places(value, link, place)
    elif isinstance(node, list):
        for number, value in enumerate(node):
            yield from _places(value, link, f"{path}[{number}]")


def rewrite(type: str, body: bytes, lookup: Lookup, needles: tuple[bytes, ...]) -> bytes:
    """The document with its links replaced. `body` is JSON of resource type `type` (not yet checked); the same object comes back where
    nothing is to be replaced."""

    def replaced(found: re.Match[bytes]) -> bytes:
        target = lookup(found[2].decode("utf-8", "replace"))
        return found[0] if target is None else found[1] + target.encode() + found[3]

    done = _REFERENCE.sub(replaced, body)
    if any(needle in done for needle in needles) or _ESCAPED.search(done):
        return _rewritten_by_type(type, done, lookup)
    return done


def unresolved(body: bytes) -> str:
    """The first reference to a Bundle entry (`urn:uuid:…`, `urn:oid:…`) in the bytes of a document; "" if there is none."""
    if b'"urn:' not in body:
        return ""
    links = (found[2].decode("utf-8", "replace") for found in _REFERENCE.finditer(body))
    return next((link for link in links if link.startswith(("urn:uuid:", "urn:oid:"))), "")


def _rewritten_by_type(type: str, body: bytes, lookup: Lookup) -> bytes:
    try:
        document = documents.decode(body)
    except (ValueError, RecursionError):
        return body  # what is wrong with it is said by the structural check, which comes next
    return documents.encode(document) if _walk(document, type, lookup) else body


@lru_cache(maxsize=2048)
def _table(type: str) -> Mapping[str, str]:
    """JSON name -> type code, for the members of `type` in which a link may stand, directly or below."""
    definition = definitions().types.get(type)
    if definition is None or definition.kind == "primitive":
        return {}
    members = {name: code for element in definition.elements.values() for name, code in element.json.items()}
    return {name: code for name, code in members.items() if _may_link(code)}


def _may_link(code: str) -> bool:
    if code in _LINK_TYPES or code == "xhtml" or code == "Resource":
        return True
    definition = definitions().types.get(code)
    return definition is not None and definition.kind != "primitive"


def _walk(node: dict[str, Any], type: str, lookup: Lookup) -> bool:
    """Replaces links in place; whether there were any."""
    changed = False
    table = _table(type)
    for name, value in list(node.items()):
        if name == "reference" and isinstance(value, str):
            code = "uri"
        else:
            found = table.get(name) or ("Element" if name[:1] == "_" else None)
            if found is None:
                continue
            code = found
        changed |= _replace(node, name, value, code, lookup)
    return changed


def _replace(holder: Any, place: Any, value: Any, code: str, lookup: Lookup) -> bool:
    if isinstance(value, list):
        return any([_replace(value, number, item, code, lookup) for number, item in enumerate(value)])
    if isinstance(value, dict):
        inner = str(value.get("resourceType", "")) if code == "Resource" else code
        return _walk(value, inner, lookup)
    if not isinstance(value, str):
        return False
    target = _in_narrative(value, lookup) if code == "xhtml" else lookup(value) if code in _LINK_TYPES else None
    if target is None or target == value:
        return False
    holder[place] = target
    return True


def _in_narrative(div: str, lookup: Lookup) -> str | None:
    """The narrative with its links replaced, None where none is."""

    def replaced(found: re.Match[str]) -> str:
        quoted = found[2]
        target = lookup(quoted[1:-1])
        return found[0] if target is None else f"{found[1]}{quoted[0]}{target}{quoted[0]}"

    done = _NARRATIVE.sub(replaced, div)
    return None if done == div else done
