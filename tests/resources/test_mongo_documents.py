"""The native copies of documents: what BSON can hold is there as it is, what it cannot hold is bent, nothing is refused but sheer size."""

from decimal import Decimal
from typing import Any

import bson
import msgspec
import pytest
from bson.decimal128 import Decimal128
from hypothesis import given, settings
from hypothesis import strategies as st

from resources.outcomes import FhirError
from resources.stores.mongo.documents import LARGEST, native


def kept(body: bytes) -> dict[str, Any]:
    return bson.decode(native("1", body).raw)


@pytest.mark.parametrize(
    ("json", "held"),
    [
        ("1", 1),
        ("-9223372036854775808", -(1 << 63)),
        ("9223372036854775808", Decimal128("9223372036854775808")),
        ("12345678901234567890123456789012345", "12345678901234567890123456789012345"),
        ("1.50", Decimal128("1.50")),
        ("0.000", Decimal128("0.000")),
        ("1e-7", Decimal128("1E-7")),
        ("0.1234567890123456789012345678901234567890", "0.1234567890123456789012345678901234567890"),
        ("1e9999", "1e9999"),
        ("1e99999999999999999999", "1e99999999999999999999"),
        ('"caf\\u00e9 \\u0000"', "café \0"),
        ("[true,null,{}]", [True, None, {}]),
    ],
)
def test_a_value_is_kept_with_its_type_and_precision_or_as_text(json: str, held: Any) -> None:
    """Decimals keep their digits; numbers that BSON has no type for become text."""
    assert kept(f'{{"resourceType":"Basic","value":{json}}}'.encode())["value"] == held


@pytest.mark.parametrize(
    ("name", "held"),
    [
        ("$ref", "\uff04ref"),
        ("a$b", "a$b"),
        ("a.b.c", "a\uff0eb\uff0ec"),
        ("a\\u0000b", "a\u2400b"),
        ("_birthDate", "_birthDate"),
        ("", ""),
    ],
)
def test_names_that_mongodb_gives_a_meaning_take_their_full_width_forms(name: str, held: str) -> None:
    """At any depth, so that every path can be queried."""
    document = kept(f'{{"resourceType":"Basic","x":[{{"{name}":1}}],"{name}":2}}'.encode())
    assert (document["x"], document[held]) == ([{held: 1}], 2)


def test_the_id_comes_first_and_is_the_documents_own_too() -> None:
    """As `_id` it is what MongoDB finds a document by."""
    document = kept(b'{"resourceType":"Patient","id":"1","name":[{"family":"Chalmers"}]}')
    assert list(document) == ["_id", "resourceType", "id", "name"]
    assert (document["_id"], document["id"]) == ("1", "1")


def test_what_is_nested_deeper_than_mongodb_allows_is_kept_as_text() -> None:
    """Brackets in texts do not count; the part that is too deep can still be read by people."""
    inner = '{"url":"u","extension":[' * 70 + '{"valueDecimal":1.50}' + "]}" * 70
    document = kept(f'{{"resourceType":"Basic","extension":[{inner}]}}'.encode())
    depth, value = 0, document["extension"]
    while isinstance(value, list | dict):
        value = value[0] if isinstance(value, list) else value["extension"]
        depth += 1
    assert depth < 100
    assert '"1.50"' in value
    texts = kept(msgspec.json.encode({"resourceType": "Basic", "x": ["{[" * 200, '"{'] * 3}))
    assert texts["x"][0] == "{[" * 200


def test_a_document_that_is_too_large_is_refused_with_what_to_do() -> None:
    """413, before anything is written."""
    with pytest.raises(FhirError, match="Put large attachments elsewhere") as caught:
        native("1", msgspec.json.encode({"resourceType": "Binary", "data": "x" * LARGEST}))
    assert caught.value.status == 413


@pytest.mark.parametrize("body", [b"", b"[1]", b'{"a":', b"7"])
def test_what_is_no_object_is_a_callers_error(body: bytes) -> None:
    """Documents were checked before they reach a store."""
    with pytest.raises(ValueError, match="JSON object"):
        native("1", body)


SCALARS = (
    st.none() | st.booleans() | st.integers(-(10**40), 10**40) | st.text() | st.decimals(allow_nan=False, allow_infinity=False)
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=20
)


@given(st.dictionaries(st.text(), VALUES, max_size=6))
@settings(max_examples=200, deadline=None)
def test_every_json_object_has_a_native_copy(members: dict[str, Any]) -> None:
    """Whatever the names and values, BSON of it can be made and read; decimals that fit are equal in value and digits."""
    members = {name: value for name, value in members.items() if name != "_id"}
    document = kept(encoded(members))
    assert len(document) <= len(members) + 1
    for name, value in members.items():
        held = document.get(name)
        if isinstance(value, Decimal) and isinstance(held, Decimal128):
            assert held.to_decimal() == value


def encoded(members: dict[str, Any]) -> bytes:
    return msgspec.json.Encoder(decimal_format="number").encode(members)
