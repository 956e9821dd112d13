"""Types of parameters by modifiers, prefixes and edges, as tables, on each index."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from contracts.elastic_harness import Elastic
from contracts.filling import Filled, all_applied
from contracts.index_harness import PARAMETERS, Database, Memory

from search.parse import parse
from search.query import Query

DATES: dict[str, Any] = {
    "a": {"effectiveDateTime": "2026-03-29"},
    "b": {"effectiveDateTime": "2026-03"},
    "c": {"effectiveDateTime": "2026"},
    "d": {"effectiveDateTime": "2026-03-29T01:30:00+01:00"},
    "e": {"effectiveDateTime": "2026-03-29T03:30:00+02:00"},
    "f": {"effectivePeriod": {"start": "2026-03-28", "end": "2026-03-30"}},
    "g": {"effectivePeriod": {"start": "2026-03-29"}},
    "h": {"effectivePeriod": {"end": "2026-03-28"}},
    "i": {"effectiveInstant": "2026-03-28T23:59:59.999Z"},
    "j": {"effectiveDateTime": "2026-03-30T00:00:00+02:00"},
    "k": {},
}
"""d and e are half an hour before and after the clocks of central Europe went from 02:00+01:00 to 03:00+02:00."""

NUMBERS: dict[str, float] = {"a": 5.4, "b": 5, "c": 5.35, "d": 5.45, "e": -5.4, "f": 0, "g": 100}

DOCUMENTS: dict[str, dict[str, Any]] = {
    **{f"Observation/{id}": {"status": "final", **when} for id, when in DATES.items()},
    **{f"RiskAssessment/{id}": {"prediction": [{"probabilityDecimal": number}]} for id, number in NUMBERS.items()},
    "RiskAssessment/j": {"prediction": [{"probabilityRange": {"low": {"value": 5}, "high": {"value": 6}}}]},
    "RiskAssessment/k": {},
}
for _id, _number in NUMBERS.items():
    DOCUMENTS[f"Observation/{_id}"]["valueQuantity"] = {"value": _number, "unit": "mg", "code": "mg", "system": "urn:u"}
DOCUMENTS["Observation/h"]["valueQuantity"] = {"value": 5.5, "comparator": ">=", "unit": "g"}
DOCUMENTS["Observation/i"]["valueQuantity"] = {"value": 5.3, "comparator": "<="}


def asked(text: str) -> Query:
    type, _, query = text.partition("?")
    return parse(type, query.replace("+", "%2B"), parameters=PARAMETERS, base_url="http://here/fhir").query


DATE_TABLE = """
                           eq         ne         gt         lt         ge         le         sa         eb
2026                       abcdefij   gh         g          h          abcdefgij  abcdefhij  -          -
2026-03                    abdefij    cgh        cg         ch         abcdefgij  abcdefhij  -          -
2026-03-29                 adej       bcfghi     bcfg       bcfhi      abcdefgj   abcdefhij  -          hi
2026-03-28                 i          abcdefghj  abcdefgj   bch        abcdefgij  bchi       adegj      -
2026-03-30                 -          abcdefghij bcg        abcdefghij bcg        abcdefghij -          adehij
2026-03-29T00:30:00Z       d          abcefghij  abcefgj    abcfghi    abcdefgj   abcdfghi   ej         hi
2026-03-29T01:30:00+01:00  d          abcefghij  abcefgj    abcfghi    abcdefgj   abcdfghi   ej         hi
2026-03-29T03:30:00+02:00  e          abcdfghij  abcfgj     abcdfghi   abcefgj    abcdefghi  j          dhi
2026-03-29T03:30+02:00     e          abcdfghij  abcfgj     abcdfghi   abcefgj    abcdefghi  j          dhi
2026-03-29T02:30:00+01:00  e          abcdfghij  abcfgj     abcdfghi   abcefgj    abcdefghi  j          dhi
2026-03-28T23:59:59.999Z   i          abcdefghj  abcdefgj   bcfh       abcdefgij  bcfhi      adegj      -
2026-03-30T00:00:00+02:00  j          abcdefghi  abcfg      abcdefghi  abcfgj     abcdefghij -          dehi
2025                       -          abcdefghij abcdefghij h          abcdefghij h          abcdefgij  -
2027                       -          abcdefghij g          abcdefghij g          abcdefghij -          abcdefhij
2026-03-29T00:00:00Z       -          abcdefghij abcdefgj   bcfhi      abcdefgj   bcfhi      dej        hi
2026-03-28T19:30:00-05:00  d          abcefghij  abcefgj    abcfghi    abcdefgj   abcdfghi   ej         hi
2026-03-29T12:00:00+14:00  -          abcdefghij abcdefghij bcfh       abcdefghij bcfh       adegij     -
"""
"""Value, and what it finds with each prefix: ids of Observations by DATES (- for none)."""

NUMBER_TABLE = """
             eq          ne          gt          lt          ge          le          sa          eb
5.4          ac          bdefgj      dgj         bcefj       adgj        abcefj      dg          bcef
5.40         a           bcdefgj     dgj         bcefj       adgj        abcefj      dg          bcef
5            abcd        efgj        acdgj       ef          abcdgj      befj        acdg        ef
5.5          d           abcefgj     gj          abcdefj     gj          abcdefj     g           abcdef
0            f           abcdegj     abcdgj      e           abcdfgj     ef          abcdgj      e
-5.4         e           abcdfgj     abcdfgj     -           abcdefgj    e           abcdfgj     -
1e2          g           abcdefj     -           abcdefj     g           abcdefgj    -           abcdefj
1.0e2        g           abcdefj     -           abcdefj     g           abcdefgj    -           abcdefj
100          g           abcdefj     -           abcdefj     g           abcdefgj    -           abcdefj
0.00         f           abcdegj     abcdgj      e           abcdfgj     ef          abcdgj      e
5.350        c           abdefgj     adgj        befj        acdgj       bcefj       adg         bef
54e-1        ac          bdefgj      dgj         bcefj       adgj        abcefj      dg          bcef
"""

QUANTITY_TABLE = """
             eq          ne          gt          lt          ge          le          sa          eb
5.4          ac          bdefghi     dgh         bcefi       adgh        abcefi      dgh         bcefi
5.40         a           bcdefghi    dgh         bcefi       adgh        abcefi      dgh         bcefi
5            abcd        efghi       acdghi      efi         abcdghi     befi        acdgh       ef
5.5          d           abcefghi    gh          abcdefi     gh          abcdefhi    g           abcdefi
0            f           abcdeghi    abcdghi     ei          abcdfghi    efi         abcdgh      e
-5.4         e           abcdfghi    abcdfghi    i           abcdefghi   ei          abcdfgh     -
1e2          g           abcdefhi    h           abcdefhi    gh          abcdefghi   -           abcdefi
1.0e2        g           abcdefhi    h           abcdefhi    gh          abcdefghi   -           abcdefi
100          g           abcdefhi    h           abcdefhi    gh          abcdefghi   -           abcdefi
0.00         f           abcdeghi    abcdghi     ei          abcdfghi    efi         abcdgh      e
5.350        c           abdefghi    adgh        befi        acdgh       bcefi       adgh        befi
5.3          -           abcdefghi   acdgh       befi        acdghi      befi        acdgh       bef
"""


def cases(name: str, table: str) -> list[tuple[str, str]]:
    """The queries of a table, and the ids that each finds."""
    head, *rows = table.strip("\n").splitlines()
    prefixes = head.split()
    found = []
    for value, *cells in (row.split() for row in rows):
        found += [(f"{name}={prefix}{value}", cell.replace("-", "")) for prefix, cell in zip(prefixes, cells, strict=True)]
    return found


ORDERED = [
    *cases("Observation?date", DATE_TABLE),
    *cases("RiskAssessment?probability", NUMBER_TABLE),
    *cases("Observation?value-quantity", QUANTITY_TABLE),
]

PLAIN = [
    # dates without a prefix, near a date, of several, and what is not there
    ("Observation?date=2026-03-29", "adej"),
    ("Observation?date=ap2026-03-29", "abcdefghij"),
    ("Observation?date=2026-03-28,2026-03-29", "adeij"),
    ("Observation?date=ge2026-03-29&date=lt2026-03-30", "abcdefgj"),
    ("Observation?date=ge2026-03-29T00:30:00Z&date=eb2026-03-29T01:30:01Z", "de"),
    ("Observation?date=gt2026-03-29T02:00:00+01:00&date=lt2026-03-29T23:59:00Z", "abcefgj"),
    ("Observation?date:missing=true", "k"),
    ("Observation?date:missing=false", "abcdefghij"),
    ("RiskAssessment?probability=5.4", "ac"),
    ("RiskAssessment?probability=ap5", "abcdj"),
    ("RiskAssessment?probability=0,100", "fg"),
    ("RiskAssessment?probability=gt0&probability=lt5.4", "bcj"),
    ("RiskAssessment?probability:missing=true", "k"),
    ("Observation?value-quantity=5.4|urn:u|mg", "ac"),
    ("Observation?value-quantity=5.4||mg", "ac"),
    ("Observation?value-quantity=5.4||g", ""),
    ("Observation?value-quantity=ge5.4||g", "h"),
    ("Observation?value-quantity=ge5.4|urn:u|g", ""),
    ("Observation?value-quantity=gt5|urn:u|mg&value-quantity=lt100", "acd"),
    ("Observation?value-quantity=ap100", "gh"),
    ("Observation?value-quantity:missing=false&date=2026-03-29", "ade"),
    ("Observation?value-quantity:missing=true", "jk"),
    # strings: case, accents, white space, other scripts, what looks like a prefix or an escape
    ("Patient?family=muller", "ab"),
    ("Patient?family=MÜLL", "ab"),
    ("Patient?family=mueller", ""),
    ("Patient?family=ller", ""),
    ("Patient?family:exact=Müller", "a"),
    ("Patient?family:exact=müller", ""),
    ("Patient?family:exact=Müll", ""),
    ("Patient?family:contains=LLE", "ab"),
    ("Patient?family:contains=üll", "abi"),
    ("Patient?family=van der", "c"),
    ("Patient?family=van  der", "c"),
    ("Patient?family=vander", ""),
    ("Patient?family:contains=der  b", "c"),
    ("Patient?family:exact=van  der Berg", "c"),
    ("Patient?family:exact=van der Berg", ""),
    ("Patient?family=gerber", "d"),
    ("Patient?family=ge", "d"),
    ("Patient?family=eq", "e"),
    (r"Patient?family=o\,neil", "f"),
    ("Patient?family=o,neil", "f"),
    (r"Patient?family:exact=O\,Neil\$\|", "f"),
    ("Patient?family=ελληνας", "g"),
    ("Patient?family=ΈΛΛΗΝΑΣ", "g"),
    ("Patient?family=stras", "h"),
    ("Patient?family=straß", "h"),
    ("Patient?family:contains=ss", "h"),
    ("Patient?family=\uff46\uff55\uff4c\uff4c", "i"),
    ("Patient?family=full", "i"),
    ("Patient?family=100%25", "j"),
    ("Patient?family:contains=_", "k"),
    ("Patient?family:contains=*", ""),
    ("Patient?family=*", ""),
    ("Patient?family:missing=true", "lm"),
    ("Patient?name=given", "l"),
    ("Patient?given=given&family:missing=true", "l"),
    ("Patient?name:contains=iv", "l"),
    ("Patient?family=muller,ge&gender=male", "ab"),
    # tokens: with and without system, both wildcards, case, booleans, codes with a bound system
    ("Patient?identifier=1", "abc"),
    ("Patient?identifier=urn:s|1", "a"),
    ("Patient?identifier=|1", "b"),
    ("Patient?identifier=urn:s|", "ad"),
    ("Patient?identifier=URN:S|1", ""),
    ("Patient?identifier=urn:s|1,urn:t|1", "ac"),
    ("Patient?identifier=urn:t|2", ""),
    (r"Patient?identifier=x\|y", "d"),
    (r"Patient?identifier=urn:s|x\|y", "d"),
    ("Patient?identifier:not=1&identifier:missing=false", "d"),
    ("Patient?identifier:not=urn:s|1&identifier:missing=false", "bcd"),
    ("Patient?identifier:not=urn:s|&identifier:missing=false", "bc"),
    ("Patient?identifier:missing=false", "abcd"),
    ("Patient?gender=male", "ab"),
    ("Patient?gender=Male", ""),
    ("Patient?gender=http://hl7.org/fhir/administrative-gender|male", "ab"),
    ("Patient?gender=|male", "ab"),
    ("Patient?gender=urn:x|male", ""),
    ("Patient?gender=http://hl7.org/fhir/administrative-gender|", "abc"),
    ("Patient?gender:not=male&family=ge,eq,van", "cde"),
    ("Patient?gender:not=male,female&family=ge,eq,van", "de"),
    ("Patient?active=true", "ab"),
    ("Patient?active=false", "c"),
    ("Patient?active=http://hl7.org/fhir/special-values|true", "ab"),
    ("Patient?active:not=true&family=ge,eq,van", "cde"),
    ("Patient?phone=555", "m"),
    ("Patient?email=555", ""),
    ("Patient?telecom=555", "m"),
    ("Patient?_id=a,m,zz", "am"),
    ("Patient?_id:not=a&gender=male", "b"),
    ("Patient?_tag=urn:t|x", "b"),
    ("Patient?_tag:not=urn:t|x&gender=male", "a"),
    ("Patient?_security=R", "c"),
    ("Patient?deceased=false", "abdefghijklm"),
    ("Patient?deceased=true", "c"),
    # references: every way to write one
    ("Patient?organization=Organization/1", "a"),
    ("Patient?organization=1", "a"),
    ("Patient?organization:Organization=1", "a"),
    ("Patient?organization=http://here/fhir/Organization/1", "a"),
    ("Patient?organization=http://there/fhir/Organization/1", "b"),
    ("Patient?organization=Organization/1/_history/4", "a"),
    ("Patient?organization=Organization/11", ""),
    ("Patient?organization=Organization/1,http://there/fhir/Organization/1", "ab"),
    ("Patient?organization=urn:uuid:8d2b2c5e-0000-4000-8000-000000000001", "c"),
    ("Patient?organization:missing=false", "abcd"),
    ("Patient?organization:identifier=urn:org|7", "d"),
    ("Patient?organization:identifier=7", "d"),
    ("Patient?organization:identifier=|7", ""),
    ("Patient?organization:identifier=urn:org|", "d"),
    ("Patient?organization=7", ""),
    ("Patient?general-practitioner=Practitioner/1", "a"),
    ("Patient?general-practitioner=1", "ab"),
    ("Patient?general-practitioner:PractitionerRole=1", "b"),
    ("Patient?general-practitioner:Organization=1", ""),
    ("Patient?general-practitioner=Practitioner/1&general-practitioner=Practitioner/2", "a"),
    # URIs: to the letter, versions of canonicals, paths
    ("ValueSet?url=http://a.org/x", "a"),
    ("ValueSet?url=http://a.org/X", ""),
    ("ValueSet?url=http://a.org/x/", "b"),
    ("ValueSet?url=http://a.org/x,urn:oid:1.2", "ac"),
    ("ValueSet?url:below=http://a.org/x", "abd"),
    ("ValueSet?url:below=http://a.org/x/", "abd"),
    ("ValueSet?url:below=http://a.org", "abde"),
    ("ValueSet?url:below=http://a.or", ""),
    ("ValueSet?url:below=http://A.org", ""),
    ("ValueSet?url:above=http://a.org/x/y/z", "abd"),
    ("ValueSet?url:above=http://a.org/xy", "e"),
    ("ValueSet?url:above=http://a.org", ""),
    ("ValueSet?url:missing=true", "f"),
    ("ValueSet?_profile=http://p/A|1.0", "a"),
    ("ValueSet?_profile=http://p/A", "ab"),
    ("ValueSet?_profile=http://p/A|2.0", "b"),
    ("ValueSet?_profile:below=http://p", "ab"),
]
"""Each other edge; ids as above."""

NAMES = {"e": "eq1", "f": "O,Neil$|", "g": "Έλληνας", "h": "Straße", "i": "\uff26\uff55\uff4c\uff4c", "j": "100%", "k": "a_b"}
PEOPLE: dict[str, dict[str, Any]] = {
    "a": {
        "name": [{"family": "Müller"}],
        "gender": "male",
        "active": True,
        "deceasedBoolean": False,
        "identifier": [{"system": "urn:s", "value": "1"}],
        "managingOrganization": {"reference": "Organization/1"},
        "generalPractitioner": [{"reference": "Practitioner/1"}, {"reference": "Practitioner/2"}],
    },
    "b": {
        "name": [{"family": "Muller"}],
        "gender": "male",
        "active": True,
        "deceasedBoolean": False,
        "identifier": [{"value": "1"}],
        "managingOrganization": {"reference": "http://there/fhir/Organization/1"},
        "generalPractitioner": [{"reference": "PractitionerRole/1"}],
        "meta": {"tag": [{"system": "urn:t", "code": "x"}]},
    },
    "c": {
        "name": [{"family": "van  der Berg"}],
        "gender": "female",
        "active": False,
        "deceasedDateTime": "2020",
        "identifier": [{"system": "urn:t", "value": "1"}],
        "managingOrganization": {"reference": "urn:uuid:8d2b2c5e-0000-4000-8000-000000000001"},
        "meta": {"security": [{"code": "R"}]},
    },
    "d": {
        "name": [{"family": "Gerber"}],
        "identifier": [{"system": "urn:s", "value": "x|y"}],
        "managingOrganization": {"identifier": {"system": "urn:org", "value": "7"}},
    },
    **{id: {"name": [{"family": name}]} for id, name in NAMES.items()},
    "l": {"name": [{"given": ["Given"]}]},
    "m": {"telecom": [{"system": "phone", "value": "555"}]},
}
VALUE_SETS: dict[str, dict[str, Any]] = {
    "a": {"url": "http://a.org/x", "meta": {"profile": ["http://p/A|1.0"]}},
    "b": {"url": "http://a.org/x/", "meta": {"profile": ["http://p/A|2.0"]}},
    "c": {"url": "urn:oid:1.2"},
    "d": {"url": "http://a.org/x/y"},
    "e": {"url": "http://a.org/xy"},
    "f": {},
}
DOCUMENTS.update({f"Patient/{id}": document for id, document in PEOPLE.items()})
DOCUMENTS.update({f"ValueSet/{id}": document for id, document in VALUE_SETS.items()})


@pytest.fixture(scope="module", params=["memory", "sqlite", "elastic"])
def filled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Filled]:
    """An index of each kind with DOCUMENTS in it."""
    if request.param == "memory":
        made: Filled = Memory()
    else:
        made = Elastic() if request.param == "elastic" else Database(tmp_path_factory.mktemp("index") / "a.sqlite")
    made.update(all_applied(DOCUMENTS))
    yield made
    made.close()


@pytest.mark.parametrize(("text", "ids"), ORDERED + PLAIN)
def test_found(filled: Filled, text: str, ids: str) -> None:
    """Each query finds what its table says, and says how many."""

    async def run() -> None:
        await filled.index.open()
        result = await filled.index.search(asked(text))
        assert "".join(sorted(key.id for key in result.keys)) == ids
        assert result.total == len(ids)
        await filled.index.close()

    asyncio.run(run())
