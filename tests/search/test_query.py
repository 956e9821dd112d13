"""Keys of criteria."""

import pytest

from search.parameters import registry
from search.parse import parse
from search.query import Compartment, Grant, criteria_key

BASE = "http://127.0.0.1/fhir"


def key(text: str, type: str = "Patient") -> bytes:
    """The key of a query string."""
    return criteria_key(parse(type, text, parameters=registry(), base_url=BASE).query)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("identifier=s|1&active=true", "active=true&identifier=s|1"),
        ("identifier=s|1,s|2", "identifier=s|2,s|1"),
        ("identifier=s|1,s|1", "identifier=s|1"),
        ("identifier=s|1&identifier=s|1", "identifier=s|1"),
        ("name=Jos%C3%A9", "name=jose"),
        ("identifier=s%7C1", "identifier=s|1"),
        ("name=peter", "phonetic=peter"),
        ("general-practitioner=Practitioner/1", f"general-practitioner={BASE}/Practitioner/1"),
        ("birthdate=2020", "birthdate=eq2020"),
        ("identifier=s|1", "identifier=s|1&_sort=name&_count=3&_total=none&_include=Patient:organization"),
    ],
)
def test_same(one: str, other: str) -> None:
    """Order, repetition and spelling make no difference, nor does what shapes the answer."""
    assert key(one) == key(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("identifier=s|1", "identifier=s|2"),
        ("identifier=s|1", "identifier=1"),
        ("identifier=|1", "identifier=1"),
        ("identifier=s|1", "identifier=s|"),
        ("identifier=s|1", "identifier:not=s|1"),
        ("identifier=s|1,s|2", "identifier=s|1&identifier=s|2"),
        ("name=a", "family=a"),
        ("name:exact=Jose", "name:exact=jose"),
        ("birthdate=2020", "birthdate=ge2020"),
        ("name:missing=true", "name:missing=false"),
        ("name=a", "name:contains=a"),
    ],
)
def test_different(one: str, other: str) -> None:
    """What can select other documents has another key."""
    assert key(one) != key(other)


def test_type_counts_and_compartment_does_not() -> None:
    """The same criteria for another type are others; an access decision does not make them so."""
    assert key("identifier=s|1") != key("identifier=s|1", "Practitioner")
    query = parse("Patient", "identifier=s|1", parameters=registry(), base_url=BASE).query
    assert criteria_key(query.with_filter(Compartment("1"))) == criteria_key(query)


def test_key_is_16_bytes() -> None:
    """The store's claims are 16 bytes."""
    assert len(key("identifier=s|1")) == 16


def test_filters_add_up() -> None:
    """A query that is narrowed again keeps what it was narrowed to before; grants are given once."""
    more = parse("Patient", "gender=male", parameters=registry(), base_url=BASE).query.clauses
    query = parse("Patient", "name=x", parameters=registry(), base_url=BASE).query
    once = query.with_filter(Compartment("1"), allowed=(Grant("Patient"),))
    twice = once.with_filter(Compartment("2"), Compartment("1"), clauses=more)
    assert twice.compartments == (Compartment("1"), Compartment("2"))
    assert twice.clauses == (*query.clauses, *more) and twice.allowed == (Grant("Patient"),)
    with pytest.raises(ValueError, match="grants"):
        twice.with_filter(allowed=())
