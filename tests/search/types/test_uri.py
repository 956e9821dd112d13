"""URI parameters."""

import pytest

from search.parameters import registry
from search.query import Modifier
from search.types import uri
from search.types.text import Reading

READING = Reading(("http://127.0.0.1/fhir/",), 0)
URL = registry().of("ValueSet")["url"]


@pytest.mark.parametrize(
    ("asked", "fhir_type", "held", "matches"),
    [
        ("http://acme.org/fhir/ValueSet/123", "uri", "http://acme.org/fhir/ValueSet/123", True),
        ("http://acme.org/fhir/ValueSet/123", "uri", "http://acme.org/fhir/ValueSet/123/", False),
        ("http://acme.org/fhir/ValueSet/123", "uri", "http://acme.org/FHIR/ValueSet/123", False),
        ("http://acme.org/fhir/ValueSet/12", "uri", "http://acme.org/fhir/ValueSet/123", False),
        ("urn:oid:1.2.3", "oid", "urn:oid:1.2.3", True),
        ("http://x/a?b=1\\,2", "url", "http://x/a?b=1,2", True),
        ("http://x/a", "canonical", "http://x/a|1.0", True),
        ("http://x/a|1.0", "canonical", "http://x/a|1.0", True),
        ("http://x/a|2.0", "canonical", "http://x/a|1.0", False),
        ("http://x/a|1.0", "canonical", "http://x/a", False),
    ],
)
def test_comparison(asked: str, fhir_type: str, held: str, matches: bool) -> None:
    """Equal to the letter; a canonical is found with and without its version."""
    [term] = uri.parse(asked, URL, Modifier.NONE, READING)
    convert = uri.converter(fhir_type, ())
    assert convert is not None
    assert any(uri.match(term, Modifier.NONE, value) for value in convert([held])) is matches


def test_other_types_have_no_uri() -> None:
    """A Coding has nothing to compare as a URI."""
    assert uri.converter("Coding", ()) is None
