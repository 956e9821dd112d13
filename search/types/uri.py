"""URI parameters: equal as written (https://hl7.org/fhir/R4/search.html#uri)."""

from search.parameter import SearchParameter
from search.query import Modifier, Term
from search.types.text import Bases, Converter, Reading, unescape
from search.values import UriValue, Value

MODIFIERS = frozenset({Modifier.MISSING})


def parse(text: str, parameter: SearchParameter, modifier: Modifier, reading: Reading) -> tuple[Term, ...]:
    """A URI, or a canonical with its version (`url|1.0`)."""
    return (Term(UriValue(unescape(text))),)


def converter(fhir_type: str, bases: Bases) -> Converter | None:
    """A URI as written; a canonical with a version also without it."""
    if fhir_type == "canonical":
        return _canonical
    return _uri if fhir_type in ("uri", "url", "oid", "uuid", "string", "id") else None


def match(term: Term, modifier: Modifier, value: Value) -> bool:
    """Equal to the letter."""
    return value == term.value


def _uri(value: str) -> tuple[Value, ...]:
    return (UriValue(value),)


def _canonical(value: str) -> tuple[Value, ...]:
    url, mark, _ = value.partition("|")
    return (UriValue(value), UriValue(url)) if mark and url else (UriValue(value),)
