"""A document's own bytes: nothing is lost or re-spelled when `id` and `meta` are set."""

import gzip
import json
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from resources.documents import decode, draft, encode

DATA = Path(__file__).parents[1] / "data"
INSTANT = "2026-01-01T00:00:00.000Z"


def stamped(body: bytes) -> bytes:
    return draft(body, "x1").stamp(3, INSTANT)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"resourceType":"Basic"}', b'{"resourceType":"Basic","id":"x1","meta":{M}}'),
        (b'{"resourceType":"Basic","id":"a"}', b'{"resourceType":"Basic","id":"x1","meta":{M}}'),
        (b'{"id":"a","resourceType":"Basic"}', b'{"id":"x1","meta":{M},"resourceType":"Basic"}'),
        (b'{"resourceType":"Basic","meta":{"tag":[]},"id":"a"}', b'{"resourceType":"Basic","meta":{M,"tag":[]},"id":"x1"}'),
        (b'{"resourceType":"Basic","meta":{"versionId":"9","lastUpdated":"?"}}', b'{"resourceType":"Basic","id":"x1","meta":{M}}'),
        (b'{"resourceType":"Basic","meta":{"versionId":"9","_versionId":{"id":"a"},"source":"s"}}', None),
        (b'\xef\xbb\xbf{"resourceType":"Basic"}', b'{"resourceType":"Basic","id":"x1","meta":{M}}'),
        (b'{ "resourceType" :\n "Basic" ,\t"x": 72.50 }', b'{"resourceType":"Basic","id":"x1","meta":{M},"x":72.50}'),
        (b'{"resourceType":"Basic","x":"a\\u00e9\\n b","y":1E+2}',
         b'{"resourceType":"Basic","id":"x1","meta":{M},"x":"a\\u00e9\\n b","y":1E+2}'),
    ],
)  # fmt: skip
def test_id_and_meta_are_set_and_all_else_stays_as_written(body: bytes, expected: bytes | None) -> None:
    """Order of members, spelling of numbers and escapes are the client's own; white space between tokens goes."""
    if expected is None:
        expected = b'{"resourceType":"Basic","id":"x1","meta":{M,"source":"s"}}'
    assert stamped(body) == expected.replace(b"M", b'"versionId":"3","lastUpdated":"%b"' % INSTANT.encode(), 1)


def test_every_official_example_keeps_its_content_order_and_numbers() -> None:
    """What goes in comes out, to the digit, but for id, version and instant."""
    with gzip.open(DATA / "r4-examples.ndjson.gz") as file:
        for line in file:
            raw = msgspec.json.decode(line, type=dict[str, msgspec.Raw])["resource"]
            before = json.loads(bytes(raw), parse_float=str, parse_int=str)
            after = json.loads(stamped(bytes(raw)), parse_float=str, parse_int=str)
            for document in (before, after):
                document.pop("id", None)
                meta = document.pop("meta", {})
                document["kept"] = {k: v for k, v in meta.items() if k not in ("versionId", "lastUpdated")}
            assert list(before.items()) == list(after.items())


@pytest.mark.parametrize("number", ["72.50", "0.10", "1e2", "1.0E-7", "-0.0", "12345678901234567890.123456789"])
def test_decimals_keep_their_digits_through_decoding_and_encoding(number: str) -> None:
    """The precision of a decimal is part of its value (https://hl7.org/fhir/R4/datatypes.html#decimal)."""
    again = json.loads(encode(decode(b'{"a":%b}' % number.encode())), parse_float=str)["a"]
    assert Decimal(again).as_tuple() == Decimal(number).as_tuple()
