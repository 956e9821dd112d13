"""Dates, ids and references: kept apart by the secret, kept together within it."""

from datetime import date, datetime
from typing import Any

import pytest
from deidentifying.documents import BASE, OTHER, SECRET, TODAY, deidentifier, made, population, values
from hypothesis import given as generated
from hypothesis import settings
from hypothesis import strategies as some

from conformance.load import definitions
from fhir_server.deidentifying.dates import Calendar
from fhir_server.deidentifying.deidentifier import Deidentifier

ABSENT = {"url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason", "valueCode": "masked"}


def day(text: str) -> date:
    return date.fromisoformat(text[:10])


def shown(text: str, *patients: str, **options: Any) -> str | None:
    """What an Observation says of its time."""
    return made("Observation", {"effectiveDateTime": text}, *patients, **options).get("effectiveDateTime")


@settings(deadline=None)
@generated(patient=some.text(min_size=1, max_size=64), when=some.dates(date(1940, 1, 1), date(2030, 1, 1)))
def test_a_shift_is_one_to_365_days_back(patient: str, when: date) -> None:
    """Never nothing, and the same for each date of the patient."""
    moved = [(when - day(str(shown(text, patient)))).days for text in (when.isoformat(), f"{when}T10:00:00Z")]
    assert moved[0] == moved[1]
    assert 1 <= moved[0] <= 365


def test_shifts_differ() -> None:
    """Between patients, between secrets, and between projects of one secret; over many they fill the range."""
    first = [str(shown("2020-06-15", str(n))) for n in range(300)]
    assert first != [str(shown("2020-06-15", str(n), secret=OTHER)) for n in range(300)]
    assert first != [str(shown("2020-06-15", str(n), project="b")) for n in range(300)]
    assert len(set(first)) > 150
    assert max(first) > "2020-05" and min(first) < "2019-08"


def test_intervals_of_a_patient_stay() -> None:
    """Over the sample population every date of a patient's documents is that patient's days earlier, to the second."""
    years = ("Coverage.period.start", "Coverage.period.end", "ExplanationOfBenefit.benefitPeriod.start")
    seen: dict[str, int] = {}
    checked = 0
    for type, document, patients in population():
        if len(patients) != 1:
            continue
        out = deidentifier().document(type, document, patients)
        assert out is not None
        before = {
            v.value.removesuffix("+00:00").removesuffix("Z") for v in values(document) if v.type in ("date", "dateTime", "instant")
        }
        for value in values(out):
            if value.type in ("date", "dateTime", "instant") and len(value.value) >= 10 and value.path not in years:
                if type == "Patient" and value.path == "Patient.birthDate":
                    seen[patients[0]] = (day(document["birthDate"]) - day(value.value)).days
                shift = seen[patients[0]]
                back = datetime.fromordinal(day(value.value).toordinal() + shift).date().isoformat()
                assert back + value.value[10:].removesuffix("Z") in before, value.path
                checked += 1
    assert len(seen) == 20
    assert checked > 3_000


@pytest.mark.parametrize(
    ("text", "year"),
    [
        ("2020-03-31", "2020"),
        ("2020-03", "2020"),
        ("2020", "2020"),
        ("2020-03-31T10:00:00.123+02:00", "2020"),
        ("2020-02-30", None),
        ("2020-W01-1", None),
        ("0000", None),
        ("yesterday", None),
        ("2020-03-31T10:00:00 said Mary", None),
        ("٢٠٢٠-٠٣-٣١", None),
    ],
)
def test_years(text: str, year: str | None) -> None:
    """With dates=year only the year stays, of documents of a patient as of others."""
    assert shown(text, "p", dates="year") == year
    assert shown(text, dates="year") == year
    assert (shown(text, "p") is None) == (year is None)


def test_parts_of_dates_move_with_the_others() -> None:
    """A month or year without a day stays one, and moves as its middle does."""
    calendar = Calendar(TODAY)
    assert calendar.shown("2020-03", 14) == "2020-03"
    assert calendar.shown("2020-03", 15) == "2020-02"
    assert calendar.shown("2020", 182) == "2020"
    assert calendar.shown("2020", 184) == "2019"


def test_summer_time_does_not_come_out() -> None:
    """The clock's time stays and the offset becomes Z, so that winter and summer look the same."""
    calendar = Calendar(TODAY)
    assert calendar.shown("2020-07-01T09:30:00-04:00", 200) == "2019-12-14T09:30:00Z"
    assert calendar.shown("2020-01-01T09:30:00.5-05:00", 1) == "2019-12-31T09:30:00.5Z"


@pytest.mark.parametrize("patients", [(), ("a", "b")], ids=["none", "several"])
def test_documents_of_nobody_or_several_keep_years(patients: tuple[str, ...]) -> None:
    """There is no shift that fits them; an instant goes, and something stands where it was required."""
    assert shown("2020-03-31", *patients) == "2020"
    out = made("Slot", {"start": "2020-03-31T10:00:00Z", "end": "2020-03-31T10:15:00Z"}, *patients)
    assert out["_start"] == out["_end"] == {"extension": [ABSENT]}
    assert made("Observation", {"valueTime": "10:00:00"}, *patients).keys().isdisjoint({"valueTime"})
    assert made("Observation", {"valueTime": "10:00:00"}, "p")["valueTime"] == "10:00:00"


def test_a_patient_is_its_own() -> None:
    """A Patient that no compartment was named for is shifted as its other documents are."""
    out = made("Patient", {"id": "p", "birthDate": "1980-03-31"})
    assert out["birthDate"] == shown("1980-03-31", "p")


@pytest.mark.parametrize(
    ("birth", "stays"),
    [
        ("1936-01-02", True),
        ("1936-01-01", False),
        ("1926-06-06", False),
        ("1937", True),
        ("1936", False),
        ("1936-02", True),
        ("1936-01", False),
    ],
)
@pytest.mark.parametrize("dates", ["shift", "year"])
def test_who_is_90_has_no_birth_date(birth: str, stays: bool, dates: Any) -> None:
    """As of 2026-01-01: not even the year, in the birth date, its time, a contained person or an Observation of it."""
    document = {
        "birthDate": birth,
        "_birthDate": {"extension": [{"url": "http://hl7.org/fhir/StructureDefinition/patient-birthTime", "valueDateTime": birth}]},
        "contained": [{"resourceType": "RelatedPerson", "id": "r", "birthDate": birth}],
    }
    out = made("Patient", document, "p", dates=dates)
    assert ("birthDate" in out) is ("_birthDate" in out) is ("birthDate" in out["contained"][0]) is stays
    assert (shown(birth, "p", dates=dates) is not None) is stays


def test_today_is_a_leap_day() -> None:
    """90 years before the 29th of February."""
    assert Calendar(date(2024, 2, 29)).shown("1934-02-28", 1) is None
    assert Calendar(date(2024, 2, 29)).shown("1934-03-01", 1) == "1934-02-28"


def test_dates_that_follow_the_calendar_are_years() -> None:
    """Who is insured from the first of January would tell the shift."""
    period = {"start": "2020-01-01", "end": "2020-12-31"}
    assert made("Coverage", {"period": period}, "p")["period"] == {"start": "2020", "end": "2020"}
    assert made("Immunization", {"expirationDate": "2020-01-31"}, "p")["expirationDate"] == "2020"


def test_references_join() -> None:
    """Over the sample population every reference that found its document finds it still, and no other does."""
    here = {f"{type}/{document['id']}": document for type, document, _ in population()}
    pairs = [(document, deidentifier().document(type, document, patients)) for type, document, patients in population()]
    there = {f"{out['resourceType']}/{out['id']}" for _, out in pairs if out}
    assert len(there) == len(here)
    joined = 0
    for document, out in pairs:
        before = [v.value for v in values(document) if v.path.endswith(".reference") and not v.value.startswith("#")]
        after = [
            v.value
            for v in values(out or {"resourceType": "Basic"})
            if v.path.endswith(".reference") and not v.value.startswith("#")
        ]
        assert [text in here for text in before if "?" not in text] == [text in there for text in after]
        joined += sum(text in there for text in after)
    assert joined > 5_000


REFERENCES = [
    ("Patient/1/_history/3", "Patient/1"),
    (f"{BASE}/Patient/1", "Patient/1"),
    (f"{BASE}/Patient/1/_history/3", "Patient/1"),
    ("https://elsewhere.example/fhir/Patient/1/_history/2", "https://elsewhere.example/fhir/Patient/1"),
]


@pytest.mark.parametrize(("one", "other"), REFERENCES)
def test_references_to_the_same_are_the_same(one: str, other: str) -> None:
    """Whatever the version, and with or without the base of this server."""
    of = [made("Observation", {"subject": {"reference": text}}, "p")["subject"]["reference"] for text in (one, other)]
    assert of[0] == of[1]
    assert of[0].startswith("Patient/")


def test_references_to_different_things_differ() -> None:
    """The same id of another type, or on another server, is somebody else."""
    texts = ["Patient/1", "Practitioner/1", "http://a.example/fhir/Patient/1", "http://b.example/fhir/Patient/1", "Patient/2"]
    made_of = {made("Observation", {"focus": [{"reference": text}]}, "p")["focus"][0]["reference"] for text in texts}
    assert len(made_of) == len(texts)


def test_contained_resources_are_still_referred_to() -> None:
    """By their pseudonym within the document; a reference to one that went goes too."""
    contained = [
        {"resourceType": "Practitioner", "id": "dr-jones"},
        {"resourceType": "Binary", "id": "scan", "contentType": "image/png"},
    ]
    out = made(
        "Observation",
        {"contained": contained, "performer": [{"reference": "#dr-jones"}, {"reference": "#scan"}, {"reference": "#"}]},
        "p",
    )
    assert [each["resourceType"] for each in out["contained"]] == ["Practitioner"]
    assert out["performer"] == [{"reference": f"#{out['contained'][0]['id']}"}, {"reference": "#"}]


def test_urns() -> None:
    """A urn becomes another, the same for the same."""
    one, again, other = (
        made("Observation", {"subject": {"reference": text}}, "p")["subject"]["reference"]
        for text in (
            "urn:uuid:6a6b6c1c-0d3f-4b8e-9d7c-111111111111",
            "urn:uuid:6a6b6c1c-0d3f-4b8e-9d7c-111111111111",
            "urn:oid:1.2.3",
        )
    )
    assert one == again != other
    assert one.startswith("urn:uuid:") and other.startswith("urn:uuid:")


def test_canonicals() -> None:
    """Published ones stay; others are the same for all versions, and say nothing."""

    def of(text: str) -> str | None:
        return made("QuestionnaireResponse", {"questionnaire": text}, "p").get("questionnaire")

    public = "http://hl7.org/fhir/uv/sdc/Questionnaire/phq-9|1.0"
    assert of(public) == public
    assert of("http://hospital.example/Questionnaire/mary|1") == of("http://hospital.example/Questionnaire/mary|2")
    assert str(of("http://hospital.example/Questionnaire/mary|1")).startswith("urn:uuid:")
    assert of("http://hl7.org.evil.example/mary") != "http://hl7.org.evil.example/mary"
    assert of("#mary") is None


def test_two_of_one_secret_agree() -> None:
    """Pseudonyms and shifts follow from the secret and the project alone, also in another process or on another day."""
    one = Deidentifier(definitions(), SECRET, project="a", today=date(2026, 1, 1))
    other = Deidentifier(definitions(), SECRET, project="a", today=date(2026, 3, 1))
    document = {"resourceType": "Observation", "id": "1", "effectiveDateTime": "2020-01-01", "subject": {"reference": "Patient/1"}}
    assert one.document("Observation", document, ("1",)) == other.document("Observation", document, ("1",))
    assert one.document("Observation", document, ("1",)) != deidentifier().document("Observation", document, ("1",))


def test_what_was_made_once_is_made_ever_after() -> None:
    """The pseudonym and shift of a known secret: files of an earlier release can still be joined."""
    out = made("Observation", {"id": "1", "subject": {"reference": "Patient/1"}, "effectiveDateTime": "2020-01-01"}, "1")
    assert (out["id"], out["subject"]["reference"], out["effectiveDateTime"]) == (
        "a8b349518c1baded1ce378a0e5f9b7a0",
        "Patient/b56a09e34a573d97372fb7750c8a9bf7",
        "2019-09-29",
    )
