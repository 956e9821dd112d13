"""The hash of a resource: of what it says, not of how it is spelled."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fhir_server.migrating.digest import digest
from resources.documents import draft

ONE = b'{"resourceType":"Observation","id":"a","meta":{"versionId":"7","lastUpdated":"2026-01-01T00:00:00Z"},"valueDecimal":1.50}'


@pytest.mark.parametrize(
    "other",
    [
        b'{"resourceType":"Observation","id":"a","valueDecimal":1.50}',
        b'{"valueDecimal":1.50,"meta":{"versionId":"1"},"id":"a","resourceType":"Observation"}',
        b'\n{ "resourceType" : "Observ\\u0061tion",\n"id":"a", "meta":{}, "valueDecimal":1.50 }\n',
        b'\xef\xbb\xbf{"resourceType":"Observation","id":"a","meta":{"_lastUpdated":{"extension":[]}},"valueDecimal":1.50}',
    ],
)
def test_what_says_the_same(other: bytes) -> None:
    """Order, white space, escapes, version and instant do not count."""
    assert digest(other) == digest(ONE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"1.50", b"1.5"), (b"1.50", b"1.500"), (b"1.50", b'"1.50"'), (b'"a"', b'"b"'), (b'"versionId":"7"', b'"source":"7"'),
        (b'"valueDecimal"', b'"valueInteger"'), (b"1.50", b"[1.50,1.50]"), (b"1.50", b"null"),
    ],
)  # fmt: skip
def test_what_says_something_else(old: bytes, new: bytes) -> None:
    """Digits of numbers and all other members do."""
    assert digest(ONE.replace(old, new)) != digest(ONE)


_NAMES = st.from_regex("[a-z]{3,9}", fullmatch=True).filter(lambda name: name != "meta")
_VALUES: Any = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=12,
)


@settings(deadline=None)
@given(st.dictionaries(_NAMES, _VALUES, max_size=4), st.booleans())
def test_what_is_stored_has_the_hash_of_what_came(members: dict[str, Any], spaced: bool) -> None:
    """Whatever is in a document: the store puts version and instant in, and nothing else changes."""
    told = {"resourceType": "Basic", **members, "meta": {"profile": ["http://example.org/p"], "versionId": "9"}, "id": "x"}
    body = json.dumps(told, indent=1 if spaced else None, ensure_ascii=spaced).encode("utf-8", "surrogatepass")
    assert digest(draft(body, "x").stamp(3, "2026-01-01T00:00:00Z")) == digest(body)
