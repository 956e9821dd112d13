"""URI parameters: equal as written, or by their paths (https://hl7.org/fhir/R4/search.html#uri)."""

import re
from collections.abc import Sequence

from search.parameter import SearchParameter
from search.query import Modifier, Term
from search.types.text import BadValue, Bases, Converter, Reading, unescape
from search.values import UriValue, Value

MODIFIERS = frozenset({Modifier.MISSING, Modifier.ABOVE, Modifier.BELOW})

_WITH_PATH = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/]")


def parse(text: str, parameter: SearchParameter, modifier: Modifier, reading: Reading) -> tuple[Term, ...]:
    """A URI, or a canonical with its version (`url|1.0`). With `:above`, a term for each path above it. Raises BadValue."""
    uri = unescape(text)
    if modifier in (Modifier.ABOVE, Modifier.BELOW) and not _WITH_PATH.match(uri):
        raise BadValue(f"'{text}' has no path: only URLs like http://example.org/a/b lie above or below another, no URNs")
    return tuple(Term(UriValue(each)) for each in (_above(uri) if modifier is Modifier.ABOVE else [uri]))


def _above(uri: str) -> list[str]:
    """A URL and all that its path leads through, each with and without the slash at its end."""
    found = [uri]
    start = uri.index("://") + 3
    for at in (match.start() for match in re.finditer("/", uri)):
        if at >= start:
            found += [uri[:at], uri[: at + 1]]
    return list(dict.fromkeys([*found, f"{uri}/"] if not uri.endswith("/") else found))


def converter(fhir_type: str, bases: Bases) -> Converter | None:
    """A URI as written; a canonical with a version also without it."""
    if fhir_type == "canonical":
        return _canonical
    return _uri if fhir_type in ("uri", "url", "oid", "uuid", "string", "id") else None


def match(term: Term, modifier: Modifier, value: Value) -> bool:
    """Equal to the letter; with `:below` also what lies below the path."""
    if modifier is not Modifier.BELOW:
        return value == term.value
    assert isinstance(term.value, UriValue) and isinstance(value, UriValue)
    asked = term.value.uri
    return value.uri in (asked, asked.rstrip("/")) or value.uri.startswith(f"{asked.rstrip('/')}/")


def _uri(values: Sequence[str]) -> list[Value]:
    return [UriValue(value) for value in values]


def _canonical(values: Sequence[str]) -> list[Value]:
    found: list[Value] = []
    for value in values:
        url, mark, _ = value.partition("|")
        found += (UriValue(value), UriValue(url)) if mark and url else (UriValue(value),)
    return found
