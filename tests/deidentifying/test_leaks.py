"""Nothing comes out that the rules take away: over documents with every element filled, the official examples, the sample population."""

import json
import re
from collections.abc import Iterable
from typing import Any

import pytest
from deidentifying.documents import EXPORTED, OTHER, Filling, Given, deidentifier, examples, given, made, population, texts, values
from hypothesis import given as generated
from hypothesis import settings
from hypothesis import strategies as some

from conformance.load import definitions
from fhir_server.deidentifying.rules import rules
from resources.documents import encode
from resources.structure import check

FREE = frozenset(
    ("string", "markdown", "xhtml", "uri", "url", "oid", "uuid", "id", "base64Binary", "date", "dateTime", "instant", "canonical")
)
"""Datatypes whose values tell of people, places, times and files."""

OPEN = re.compile(
    r"(Quantity|Age|Count|Distance|Duration|SimpleQuantity)\.(unit|system)|Coding\.(system)|Extension\.url|Reference\.type"
)
"""Members of free datatypes that may stay as they are, by type and name."""

PUBLIC = frozenset().union(definitions().types, *definitions().code_systems.values())
"""Words that stand in FHIR's own definitions: an id or a name that is one of them gives nothing away."""

PUBLISHED = ("http://hl7.org/", "http://www.hl7.org/", "http://terminology.hl7.org/", "http://loinc.org/", "http://snomed.info/")
PLACES = re.compile(r"Address\.(state|country)")
YEAR = re.compile(r"\d{4}(-\d\d)?")
LINK = re.compile(r"[A-Za-z]?[\d./-]+")
PSEUDONYM = re.compile(r"\b([0-9a-f]{32}|urn:uuid:[0-9a-f-]{36})\b")
"""May have six letters of a text among theirs by chance."""


def secrets_of(document: dict[str, Any]) -> set[str]:
    """The strings of a document that must not come out as they are, by the definitions and the lists above alone.

    Left aside: what the document also says in a code or in another member that stays, and FHIR's own words.
    """
    told, kept = set(), set()
    for value in values(document):
        name = value.path.rpartition(".")[2]
        member = f"{value.within}.{name}"
        if not isinstance(value.value, str):
            continue
        link = member == "QuestionnaireResponse.item.linkId" and LINK.fullmatch(value.value)
        public = value.type == "canonical" and value.value.startswith(PUBLISHED)
        if value.type not in FREE or OPEN.fullmatch(member) or PLACES.fullmatch(member) or link or public:
            kept.add(value.value)
        elif value.value.strip() and not (value.type in ("date", "dateTime") and YEAR.fullmatch(value.value)):
            told.add(value.value)
    return told - kept - PUBLIC - {"#"}


def leaked(document: dict[str, Any], out: dict[str, Any]) -> set[str]:
    """What must not have come out and has: as a whole string, or, from five characters on, as words in one."""
    found = [text for text in texts(out) if text not in definitions().code_systems]
    whole, names = "\n".join(found), set(found)
    return {
        text
        for text in secrets_of(document)
        if text in names or (len(text) > 4 and text in whole and re.search(rf"\b{re.escape(text)}\b", whole))
    }


def every(documents: Iterable[Given], **options: Any) -> list[tuple[Given, dict[str, Any]]]:
    """The documents that come out, with what they became."""
    made = ((each, deidentifier(**options).document(*each)) for each in documents)
    return [(each, out) for each, out in made if out is not None]


@pytest.mark.parametrize("dates", ["shift", "year"])
@pytest.mark.parametrize("type", EXPORTED)
def test_no_element_of_any_type_leaks(type: str, dates: str) -> None:
    """Of a document in which every element of its type is filled no text, no date, no id and no file comes out."""
    document = Filling().filled(type)
    out = deidentifier(dates=dates).document(type, document, ("p",))
    assert out is not None
    whole = json.dumps(out)
    assert "leak" not in whole.lower()
    assert "-11-17" not in whole
    assert "TGVhaw" not in whole
    assert dates == "shift" or ":17" not in whole
    assert json.dumps(document).lower().count("leak") > 20


@pytest.mark.parametrize("dates", ["shift", "year"])
@pytest.mark.parametrize("type", EXPORTED)
def test_every_date_moves(type: str, dates: str) -> None:
    """Every date, dateTime and instant that comes out is as many days earlier as the patient's birth date, or a year."""
    birth = made("Patient", {"birthDate": "1999-11-17"}, "p", dates=dates)["birthDate"]
    found = {v.value[:10] for v in values(made(type, Filling().filled(type), "p", dates=dates)) if v.type in Filling.DATES}
    assert found <= {birth, "1999"}


@pytest.mark.parametrize("dates", ["shift", "year"])
def test_nothing_of_the_official_examples_leaks(dates: str) -> None:
    """No name, number, address, id, date or text of any example occurs in what is made of it."""
    shown = every(examples(), dates=dates)
    assert len(shown) > 500
    assert {e.document["id"]: found for e, out in shown if (found := leaked(e.document, out))} == {}


@pytest.mark.parametrize("dates", ["shift", "year"])
def test_nothing_of_the_population_leaks(dates: str) -> None:
    """The same for the sample population; and no name of any patient in any document."""
    shown = every(population(), dates=dates)
    assert len(shown) > 1_000
    assert {e.document["id"]: found for e, out in shown if (found := leaked(e.document, out))} == {}
    whole = b"\n".join(encode(out) for _, out in shown)
    people = [v for each in population() if each.type in ("Patient", "Practitioner") for v in values(each.document)]
    names = {v.value for v in people if v.within in ("HumanName", "ContactPoint") and v.type == "string" and len(v.value) > 4}
    numbers = {v.value for v in people if v.path.endswith("identifier.value") or v.path.endswith("address.line")}
    assert len(names) > 60
    assert [text for text in names | numbers if text.encode() in whole] == []


def test_what_comes_out_is_valid_where_the_original_was() -> None:
    """Structure is as R4 has it: something stands in the place of each required element that went."""
    for each, out in [*every(examples()), *every(examples(), dates="year"), *every(population())]:
        if not check(encode(each.document)):
            assert check(encode(out)) == [], each.document["id"]


def test_nothing_is_changed_in_place() -> None:
    """The document that was given stays as it was, and giving it again gives the same."""
    for each in examples():
        before = encode(each.document)
        first = deidentifier().document(*each)
        assert encode(each.document) == before
        assert deidentifier().document(*each) == first


def test_another_secret_shares_nothing() -> None:
    """With another secret no id and no reference is the same."""
    keyed = ("id", "reference", "uid")
    pairs = [(deidentifier().document(*each), deidentifier(secret=OTHER).document(*each)) for each in (*examples(), *population())]

    def of(out: dict[str, Any] | None) -> set[str]:
        found = values(out) if out else ()
        return {v.value for v in found if v.path.rpartition(".")[2] in keyed and isinstance(v.value, str) and v.value != "#"}

    ours, theirs = (set().union(*(of(pair[side]) for pair in pairs)) for side in (0, 1))
    assert len(ours) > 2_000
    assert ours & theirs == set()


TEXT = some.text(some.characters(min_codepoint=33, max_codepoint=0x2FF), min_size=6, max_size=20)


@settings(deadline=None)
@generated(type=some.sampled_from(EXPORTED), text=TEXT, dates=some.sampled_from(("shift", "year")))
def test_no_text_of_any_kind_comes_out(type: str, text: str, dates: Any) -> None:
    """Whatever stands in the texts, addresses and codes of a document, no string of it is in the output."""
    document = Filling(text).filled(type)
    out = deidentifier(dates=dates).document(type, document, ("p",))
    assert out is not None
    usual = set(texts(deidentifier(dates=dates).document(type, Filling().filled(type), ("p",))))
    loose = {v.value for v in values(document) if v.type == "code" or (v.path.endswith("linkId") and LINK.fullmatch(v.value))}
    shown = (PSEUDONYM.sub("", found) for found in texts(out) if found not in usual | loose)
    assert [found for found in shown if text in found] == []


NAMES = sorted({name for type in definitions().types.values() for element in type.elements.values() for name in element.json})
JSON = some.recursive(
    some.none() | some.booleans() | some.integers() | some.just("Mary Jones") | some.just("1999-11-17"),
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(some.sampled_from(NAMES), inner, max_size=5),
    max_leaves=30,
)


@settings(deadline=None)
@generated(type=some.sampled_from(EXPORTED), document=some.dictionaries(some.sampled_from(NAMES), JSON, max_size=8))
def test_what_is_no_fhir_goes_too(type: str, document: dict[str, Any]) -> None:
    """Of JSON that has FHIR's names but not its types no text comes out, and nothing fails."""
    out = deidentifier().document(type, document, ("p",))
    whole = json.dumps(out)
    assert "Mary" not in whole
    assert "1999-11-17" not in whole


@pytest.mark.parametrize("type", sorted(set(definitions().resource_types) - set(EXPORTED)))
def test_what_is_left_out_is_left_out(type: str) -> None:
    """Documents of a type without a rule to export it come to nothing, by themselves and inside others."""
    assert not rules().exported(type)
    assert deidentifier().document(type, Filling().filled(type), ("p",)) is None
    outer = {"resourceType": "Observation", "contained": [{**Filling().filled(type), "id": "x"}], "focus": [{"reference": "#x"}]}
    out = deidentifier().document("Observation", outer, ("p",))
    assert out is not None
    assert out.keys() == {"resourceType", "meta"}


def test_a_document_reads_its_patients() -> None:
    """The patients of the examples that the tests rest on are those of the compartment."""
    assert given({"resourceType": "Observation", "subject": {"reference": "Patient/1"}}).patients == ("1",)
