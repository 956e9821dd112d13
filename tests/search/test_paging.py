"""Sealed cursors."""

import json
from base64 import urlsafe_b64decode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resources.outcomes import FhirError
from search.paging import Cursors, page_context
from search.parameters import registry
from search.parse import parse

CURSORS = Cursors(b"secret")
VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False, allow_infinity=False), st.text()
)


def context(text: str, type: str = "Patient") -> bytes:
    """The context of a query string."""
    return page_context(parse(type, text, parameters=registry(), base_url="http://127.0.0.1/fhir"))


@given(st.lists(VALUES).map(tuple), st.binary(max_size=40))
def test_round_trip(cursor: tuple[object, ...], bound_to: bytes) -> None:
    """What was sealed comes back the same, as text that a URL carries as it is."""
    text = CURSORS.seal(cursor, bound_to)
    assert text.isascii() and text.replace("-", "").replace("_", "").isalnum()
    assert json.dumps(CURSORS.open(text, bound_to)) == json.dumps(cursor)


@given(st.integers(0, 200), st.integers(1, 255))
def test_any_changed_byte_is_noticed(position: int, change: int) -> None:
    """A seal with one character changed does not open."""
    text = CURSORS.seal((1, "Patient", 2.5, None), b"context")
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    position %= len(text) - 1
    other = alphabet[(alphabet.index(text[position]) + 1 + change % 63) % 64]
    with pytest.raises(FhirError):
        CURSORS.open(text[:position] + other + text[position + 1 :], b"context")


@pytest.mark.parametrize("text", ["", "x", "====", "é", "A" * 5000, "AQ", "\n", "%20"])
def test_nonsense_is_refused(text: str) -> None:
    """Anything else is a 400 that says what to do."""
    with pytest.raises(FhirError, match="start again") as refused:
        CURSORS.open(text, b"context")
    assert refused.value.status == 400


def test_bound_to_context_and_secret() -> None:
    """A cursor opens neither with another search nor on a server with another secret."""
    text = CURSORS.seal((1,), b"one")
    with pytest.raises(FhirError):
        CURSORS.open(text, b"two")
    with pytest.raises(FhirError):
        Cursors(b"other").open(text, b"one")


def test_bound_to_the_index() -> None:
    """A cursor is a place in one index: after a switch to another engine or layout the answer is 400, and says what to do."""
    indexes = [Cursors(b"secret", index) for index in ("sqlite 1", "sqlite 2", "elasticsearch 1")]
    for sealing in indexes:
        for opening in indexes:
            text = sealing.seal((1,), b"one")
            if opening is sealing:
                assert opening.open(text, b"one") == (1,)
                continue
            with pytest.raises(FhirError, match="of another search index: start again from the first page") as refused:
                opening.open(text, b"one")
            assert refused.value.status == 400


def test_empty_secret() -> None:
    """Without a secret anybody could sign."""
    with pytest.raises(ValueError, match="empty"):
        Cursors(b"")


def test_contexts() -> None:
    """Criteria and sort make the context, the shape of the answer does not; the sealed place itself does not either."""
    assert context("name=a&_count=5") == context("name=a&_count=10&_include=Patient:organization&_cursor=xyz&_summary=true")
    different = {context("name=a"), context("name=b"), context("name=a&_sort=name"), context("name=a", "Practitioner")}
    assert len(different) == 4


def test_context_does_not_depend_on_the_time() -> None:
    """`ap` is measured from now, but the pages of one search stay together."""
    base = "http://127.0.0.1/fhir"
    one = parse("Patient", "birthdate=ap2020", parameters=registry(), base_url=base, now=lambda: 0)
    other = parse("Patient", "birthdate=ap2020", parameters=registry(), base_url=base, now=lambda: 10**15)
    assert one.query != other.query
    assert page_context(one) == page_context(other)


def test_a_link_tells_nothing_of_what_it_holds() -> None:
    """Sort values, names and birth dates among them, cannot be read in a link; the same page has the same link."""
    text = CURSORS.seal((20, "bartoletti50", 823305600000000), b"one")
    assert b"bartoletti" not in urlsafe_b64decode(text + "=" * (-len(text) % 4))
    assert CURSORS.seal((20, "bartoletti50", 823305600000000), b"one") == text
