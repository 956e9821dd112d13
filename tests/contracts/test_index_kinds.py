"""Composites, places, and the modifiers that look at more than a parameter's own values, on each index."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from contracts.elastic_harness import Elastic
from contracts.filling import Filled, all_applied, asked
from contracts.index_harness import TINY, Database, Memory, all_pages

LOINC, UCUM, ROLE = "http://loinc.org", "http://unitsofmeasure.org", "http://terminology.hl7.org/CodeSystem/v2-0203"


def concept(*codes: str, text: str = "", **displays: str) -> dict[str, Any]:
    """A concept of LOINC codes, with texts by code."""
    found: dict[str, Any] = {}
    codings = [{"system": LOINC, "code": code, **({"display": displays[code]} if code in displays else {})} for code in codes]
    if codings:
        found["coding"] = codings
    return {**found, "text": text} if text else found


def mass(value: float, code: str = "mm[Hg]", **more: Any) -> dict[str, Any]:
    """A quantity of a UCUM unit."""
    return {"value": value, "unit": code, "system": UCUM, "code": code, **more}


def pressure(systolic: float, diastolic: float, **more: Any) -> dict[str, Any]:
    """A blood pressure: two values below the root."""
    parts = [{"code": concept("sys"), "valueQuantity": mass(systolic)}, {"code": concept("dia"), "valueQuantity": mass(diastolic)}]
    return {"status": "final", "code": concept("bp", text="Blood pressure"), "component": parts, **more}


def at(latitude: float, longitude: float, **more: Any) -> dict[str, Any]:
    """A Location with a position."""
    return {"position": {"latitude": latitude, "longitude": longitude}, **more}


DOCUMENTS: dict[str, dict[str, Any]] = {
    "Observation/1": pressure(150, 80, effectiveDateTime="2026-01-01"),
    "Observation/2": pressure(120, 150, effectiveDateTime="2026-01-02"),
    "Observation/3": {
        "status": "final",
        "code": concept("sys", "s2", text="Systolic", sys="Pression systolique"),
        "valueQuantity": mass(145),
        "effectiveDateTime": "2026-01-03",
        "subject": {"identifier": {"system": "urn:mrn", "value": "77"}, "display": "Somebody"},
    },
    "Observation/4": {
        "status": "final",
        "code": {"text": "Général état"},
        "valueCodeableConcept": concept("yes", yes="Yes, very"),
        "subject": {"reference": "Location/2", "identifier": {"value": "77"}},
    },
    "Observation/5": {
        "status": "final",
        "code": concept("q", q="Blood count"),
        "valueString": "Größe",
        "component": [
            {"code": concept("a"), "valueCodeableConcept": concept("x", x="Left")},
            {"code": concept("b"), "valueCodeableConcept": concept("y", y="Right")},
            {"code": concept("c", "sys"), "valueQuantity": mass(5, "kPa")},
        ],
    },
    "Observation/6": {"status": "final", "code": concept("d"), "valueDateTime": "2026-05-02"},
    "Observation/7": {"status": "final", "code": concept("d$,|1"), "valueString": "a$b"},
    "Location/1": at(48.2, 16.37, name="Vienna"),
    "Location/2": at(48.3, 16.37, name="North of it", partOf={"reference": "Location/1"}),
    "Location/3": at(47.07, 15.44, name="Graz", partOf={"reference": "Location/2"}),
    "Location/4": at(-17.0, 179.9, name="West of the line"),
    "Location/5": at(-17.0, -179.9, name="East of the line", partOf={"reference": "Location/6"}),
    "Location/6": at(89.9, 0, name="Near the pole", partOf={"reference": "Location/5"}),
    "Location/7": at(89.9, 180, name="Over the pole"),
    "Location/8": {"name": "Nowhere", "position": {"latitude": 95, "longitude": 0}},
    "Location/9": {"name": "Unsaid"},
    "Procedure/1": {"status": "completed", "location": {"reference": "Location/3"}},
    "Procedure/2": {"status": "completed", "location": {"reference": "Location/1"}},
    "Procedure/3": {"status": "completed", "location": {"reference": "Location/404"}},
    "Patient/1": {
        "identifier": [
            {"type": {"coding": [{"system": ROLE, "code": "MR"}], "text": "Medical record"}, "system": "urn:a", "value": "11"},
            {"type": {"coding": [{"system": ROLE, "code": "SS", "display": "Social security"}]}, "value": "22"},
        ],
        "generalPractitioner": [{"identifier": {"system": "urn:npi", "value": "9"}}],
    },
    "Patient/2": {
        "identifier": [
            {"type": {"coding": [{"system": ROLE, "code": "MR"}, {"system": "urn:own", "code": "X"}]}, "value": "22"},
            {"value": "11"},
        ],
        "maritalStatus": concept("M", text="Wed", M="Married"),
    },
    "ValueSet/1": {
        "status": "active",
        "url": "http://a.org/fhir/ValueSet/one",
        "useContext": [
            {"code": {"code": "age"}, "valueRange": {"low": mass(5, "a"), "high": mass(10, "a")}},
            {"code": {"code": "focus"}, "valueCodeableConcept": concept("flu")},
        ],
    },
    "ValueSet/2": {
        "status": "active",
        "url": "http://a.org/fhir/ValueSet/two",
        "useContext": [{"code": {"code": "age"}, "valueQuantity": mass(40, "a")}, {"code": {"code": "task"}}],
    },
    "ValueSet/3": {"status": "active", "url": "http://a.org/fhirs"},
    "ValueSet/4": {"status": "active", "url": "http://a.org"},
    "ValueSet/5": {"status": "active", "url": "urn:oid:1.2.3"},
    "DocumentReference/1": {
        "status": "current",
        "relatesTo": [
            {"code": "replaces", "target": {"reference": "DocumentReference/8"}},
            {"code": "signs", "target": {"reference": "DocumentReference/9"}},
        ],
    },
    "DocumentReference/2": {"status": "current", "relatesTo": [{"code": "signs", "target": {"reference": "DocumentReference/8"}}]},
    "Group/1": {
        "type": "person",
        "actual": False,
        "characteristic": [
            {"code": concept("smoker"), "valueBoolean": True, "exclude": False},
            {"code": concept("pregnant"), "valueBoolean": False, "exclude": False},
        ],
    },
    "MolecularSequence/1": {
        "coordinateSystem": 0,
        "referenceSeq": {"chromosome": {"coding": [{"code": "7"}]}, "windowStart": 10, "windowEnd": 20},
        "variant": [{"start": 12, "end": 13}, {"start": 15, "end": 16}],
    },
}


@pytest.fixture(scope="module", params=["memory", "sqlite", "sqlite, every way", "elastic"])
def filled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Filled]:
    """An index of each kind with DOCUMENTS in it; with tiny limits all ways of searching are taken."""
    if request.param == "memory":
        made: Filled = Memory()
    elif request.param == "elastic":
        made = Elastic()
    else:
        options = {"limits": TINY} if "every way" in request.param else {}
        made = Database(tmp_path_factory.mktemp("index") / "a.sqlite", **options)
    made.update(all_applied(DOCUMENTS))
    yield made
    made.close()


COMPOSITES = [
    ("Observation?component-code-value-quantity=sys$gt140", "1"),
    ("Observation?component-code-value-quantity=dia$gt140", "2"),
    (f"Observation?component-code-value-quantity={LOINC}|sys$gt140", "1"),
    ("Observation?component-code-value-quantity=urn:x|sys$gt140", ""),
    ("Observation?component-code-value-quantity=sys$gt140,dia$gt140", "1 2"),
    ("Observation?component-code-value-quantity=sys$lt140&component-code-value-quantity=dia$gt140", "2"),
    ("Observation?component-code-value-quantity=sys$120,dia$80", "1 2"),
    (f"Observation?component-code-value-quantity=sys$120|{UCUM}|mm[Hg]", "2"),
    ("Observation?component-code-value-quantity=sys$120||mm[Hg]", "2"),
    ("Observation?component-code-value-quantity=sys$5||kPa", "5"),
    ("Observation?component-code-value-quantity=c$le5", "5"),
    ("Observation?component-code-value-quantity=sys$ne120", "1 5"),
    ("Observation?component-code-value-quantity=sys$ap118", "2"),
    ("Observation?component-code-value-quantity=nothing$5", ""),
    ("Observation?component-code-value-concept=a$x", "5"),
    ("Observation?component-code-value-concept=a$y", ""),
    ("Observation?component-code-value-concept=a$x,b$x", "5"),
    (f"Observation?component-code-value-concept=b${LOINC}|y", "5"),
    ("Observation?code-value-quantity=sys$gt140", "3"),
    ("Observation?code-value-quantity=s2$gt140", "3"),
    ("Observation?code-value-quantity=sys$gt150", ""),
    ("Observation?code-value-quantity=sys$145,bp$1", "3"),
    ("Observation?code-value-quantity=sys$1,bp$145", ""),
    ("Observation?code-value-concept=yes$yes", ""),
    ("Observation?code-value-string=q$gro", "5"),
    ("Observation?code-value-string=q$x", ""),
    (r"Observation?code-value-string=d\$\,\|1$a\$b", "7"),
    ("Observation?code-value-date=d$2026-05", "6"),
    ("Observation?code-value-date=d$gt2026-06", ""),
    ("Observation?code-value-date=d$ge2026-05-02", "6"),
    ("Observation?combo-code-value-quantity=sys$gt140", "1 3"),
    ("Observation?combo-code-value-quantity=dia$gt140", "2"),
    ("Observation?combo-code-value-quantity=sys$gt140,dia$gt140", "1 2 3"),
    ("Observation?combo-code-value-quantity=sys$le5&status=final", "5"),
    ("Observation?combo-code-value-concept=a$x", "5"),
    ("Observation?combo-code-value-concept=b$x", ""),
    ("ValueSet?context-type-quantity=age$40", "2"),
    ("ValueSet?context-type-quantity=age$lt20", "1"),
    ("ValueSet?context-type-quantity=focus$lt20", ""),
    ("ValueSet?context-type-value=focus$flu", "1"),
    ("ValueSet?context-type-value=age$flu", ""),
    ("DocumentReference?relationship=DocumentReference/8$replaces", "1"),
    ("DocumentReference?relationship=DocumentReference/8$signs", "2"),
    ("DocumentReference?relationship=9$signs", "1"),
    ("DocumentReference?relationship=9$replaces", ""),
    ("Group?characteristic-value=smoker$true", "1"),
    ("Group?characteristic-value=smoker$false", ""),
    ("MolecularSequence?chromosome-variant-coordinate=7$12$13", "1"),
    ("MolecularSequence?chromosome-variant-coordinate=7$12$16", ""),
    ("MolecularSequence?chromosome-variant-coordinate=7$ge14$lt17", "1"),
    ("MolecularSequence?chromosome-variant-coordinate=7$le15$gt13", "1"),
    ("MolecularSequence?chromosome-variant-coordinate=7$lt15$gt13", ""),
    ("MolecularSequence?chromosome-variant-coordinate=7$ne12$13", ""),
    ("MolecularSequence?chromosome-variant-coordinate=7$ne12$16", "1"),
    ("MolecularSequence?chromosome-variant-coordinate=7$1e1$13", "1"),
    ("MolecularSequence?chromosome-variant-coordinate=7$gt-3000000000$lt3000000000", "1"),
    ("MolecularSequence?chromosome-variant-coordinate=7$gt3000000000$13", ""),
    ("MolecularSequence?chromosome-window-coordinate=7$10$20", "1"),
    ("MolecularSequence?chromosome-window-coordinate=8$10$20", ""),
]

PLACES = [
    ("Location?near=48.2|16.37|1|km", "1"),
    ("Location?near=48.2|16.37|11.1|km", "1"),
    ("Location?near=48.2|16.37|11.2|km", "1 2"),
    ("Location?near=48.2|16.37|11200|m", "1 2"),
    ("Location?near=48.2|16.37|6.9|mi", "1"),
    ("Location?near=48.2|16.37|7|mi", "1 2"),
    ("Location?near=48.2|16.37|7|[mi_us]", "1 2"),
    ("Location?near=48.2|16.37|7", "1"),
    ("Location?near=48.2|16.37", "1 2"),
    ("Location?near=48.2|16.37|200|km", "1 2 3"),
    ("Location?near=48.2|16.37|0|km", "1"),
    ("Location?near=48.2|16.37|200000.5|m", "1 2 3"),
    ("Location?near=-17|180|11|km", "4 5"),
    ("Location?near=-17|-180|11|km", "4 5"),
    ("Location?near=-17|179.9|22|km", "4 5"),
    ("Location?near=-17|-179.9|21|km", "5"),
    ("Location?near=90|77|12|km", "6 7"),
    ("Location?near=89.9|0|23|km", "6 7"),
    ("Location?near=89.9|0|22|km", "6"),
    ("Location?near=-90|0|100|km", ""),
    ("Location?near=0|0|30000|km", "1 2 3 4 5 6 7"),
    ("Location?near=48.2|16.37|1,-17|180|11", "1 4 5"),
    ("Location?near=48.2|16.37|200&name=graz", "3"),
    ("Location?near:missing=true", "9"),
    ("Procedure?location.near=47|15|60", "1"),
]

IDENTIFIERS = [
    (f"Patient?identifier:of-type={ROLE}|MR|11", "1"),
    (f"Patient?identifier:of-type={ROLE}|MR|22", "2"),
    (f"Patient?identifier:of-type={ROLE}|SS|22", "1"),
    (f"Patient?identifier:of-type={ROLE}|SS|11", ""),
    ("Patient?identifier:of-type=urn:own|X|22", "2"),
    (f"Patient?identifier:of-type={ROLE}|X|22", ""),
    (f"Patient?identifier:of-type={ROLE}|MR|11,{ROLE}|MR|22", "1 2"),
    (f"Patient?identifier:of-type={ROLE}|MR|22&identifier=11", "2"),
    ("Observation?subject:identifier=urn:mrn|77", "3"),
    ("Observation?subject:identifier=77", "3 4"),
    ("Observation?subject:identifier=|77", "4"),
    ("Observation?subject:identifier=urn:mrn|", "3"),
    ("Observation?subject:identifier=urn:x|77", ""),
    ("Observation?subject:identifier=78,77", "3 4"),
    ("Observation?subject:identifier=77&subject=Location/2", "4"),
    ("Patient?general-practitioner:identifier=urn:npi|9", "1"),
    ("Patient?general-practitioner:identifier=urn:npi|8", ""),
]

TEXTS = [
    ("Observation?code:text=blood", "1 2 5"),
    ("Observation?code:text=BLOOD  p", "1 2"),
    ("Observation?code:text=pressure", ""),
    ("Observation?code:text=syst", "3"),
    ("Observation?code:text=pression", "3"),
    ("Observation?code:text=general", "4"),
    ("Observation?code:text=état,syst", "3"),
    ("Observation?code:text=blood c,gener", "4 5"),
    ("Observation?code:text=blood&component-code-value-quantity=sys$gt140", "1"),
    ("Observation?code:text=blood&date=2026-01-02", "2"),
    ("Observation?combo-value-concept:text=lef", "5"),
    ("Observation?combo-value-concept:text=yes", "4"),
    ("Observation?component-value-concept:text=yes", ""),
    ("Observation?value-concept:text=yes\\, v", "4"),
    ("Patient?identifier:text=med", "1"),
    ("Patient?identifier:text=social", "1"),
    ("Patient?identifier:text=x", ""),
    ("Patient?_has:Observation:patient:code:text=blood", ""),
]

HIERARCHIES = [
    ("ValueSet?url:below=http://a.org/fhir", "1 2"),
    ("ValueSet?url:below=http://a.org/fhir/", "1 2"),
    ("ValueSet?url:below=http://a.org/fhir/ValueSet/one", "1"),
    ("ValueSet?url:below=http://a.org", "1 2 3 4"),
    ("ValueSet?url:below=http://a.org/fhir/Val", ""),
    ("ValueSet?url:below=http://b.org,http://a.org/fhirs", "3"),
    ("ValueSet?url:above=http://a.org/fhir/ValueSet/one/more", "1 4"),
    ("ValueSet?url:above=http://a.org/fhirs", "3 4"),
    ("ValueSet?url:above=http://a.org/", "4"),
    ("ValueSet?url:above=http://b.org/fhirs", ""),
    ("Location?partof:below=Location/1", "2 3"),
    ("Location?partof:below=1", "2 3"),
    ("Location?partof:below=Location/2", "3"),
    ("Location?partof:below=Location/3", ""),
    ("Location?partof:below=Location/5", "5 6"),
    ("Location?partof:above=Location/3", "2 3"),
    ("Location?partof:above=Location/2", "2 3"),
    ("Location?partof:above=Location/1", "2"),
    ("Procedure?location:below=Location/1", "1 2"),
    ("Procedure?location:below=2", "1"),
    ("Procedure?location:above=Location/3", "1 2"),
    ("Procedure?location:above=Location/2", "2"),
    ("Procedure?location:below=Location/404", "3"),
    ("Procedure?location:below=Location/1&status=completed", "1 2"),
    ("Observation?subject:below=Location/1", "4"),
    ("Procedure?location:below=Location/5", ""),
]


UNITS = [
    (f"Observation?component-value-quantity=gt18|{UCUM}|kPa", "1 2"),
    (f"Observation?component-value-quantity=gt20|{UCUM}|kPa", ""),
    (f"Observation?component-value-quantity=20.0|{UCUM}|kPa", "1 2"),
    (f"Observation?component-value-quantity=37.5|{UCUM}|mm[Hg]", "5"),
    (f"Observation?component-value-quantity=le40|{UCUM}|mm[Hg]", "5"),
    ("Observation?component-value-quantity=le40||mm[Hg]", ""),
    ("Observation?component-value-quantity=le40", "5"),
    (f"Observation?component-value-quantity=le6000|{UCUM}|Pa&status=final", "5"),
    (f"Observation?component-value-quantity=gt1|{UCUM}|g", ""),
    (f"Observation?component-value-quantity=gt1|{UCUM}|nonsense", ""),
    (f"Observation?component-value-quantity=ne120|{UCUM}|mm[Hg]", "1 2 5"),
    (f"Observation?component-code-value-quantity=sys$gt18|{UCUM}|kPa", "1"),
    (f"Observation?component-code-value-quantity=dia$gt18|{UCUM}|kPa", "2"),
    (f"Observation?combo-code-value-quantity=sys$gt19|{UCUM}|kPa", "1 3"),
    (f"Observation?value-quantity=gt0.1|{UCUM}|m[Hg]", "3"),
    (f"ValueSet?context-type-quantity=age$480|{UCUM}|mo", "2"),
]


@pytest.mark.parametrize(("text", "ids"), UNITS + COMPOSITES + PLACES + IDENTIFIERS + TEXTS + HIERARCHIES)
def test_found(filled: Filled, text: str, ids: str) -> None:
    """A search finds the documents that it should, with the right total, on one page and on pages of one."""

    async def run() -> None:
        await filled.index.open()
        result = await filled.index.search(asked(text))
        assert sorted(key.id for key in result.keys) == ids.split()
        assert (result.total, result.cursor) == (len(ids.split()), None)
        pages = await all_pages(filled.index, asked(text, count=1))
        assert [key for page in pages for key in page.keys] == result.keys
        assert (await filled.index.search(asked(text, count=0))).total == len(ids.split())
        await filled.index.close()

    asyncio.run(run())
