"""What R4 asks of vital signs: https://hl7.org/fhir/R4/observation-vitalsigns.html"""

from functools import lru_cache
from typing import Any

import pytest

from conformance.load import definitions
from conformance.rules.vital_signs import SIGNS
from conformance.validate import Validator

LOINC, SNOMED, UCUM = "http://loinc.org", "http://snomed.info/sct", "http://unitsofmeasure.org"
PRESSURE = [(LOINC, "85354-9")]


@lru_cache(maxsize=1)
def validator() -> Validator:
    return Validator(definitions())


def observation(*codings: tuple[str, str], category: str = "vital-signs", **more: Any) -> dict[str, Any]:
    """An Observation that nothing else is wrong with."""
    system = "http://terminology.hl7.org/CodeSystem/observation-category"
    return {
        "resourceType": "Observation", "status": "final", "subject": {"reference": "Patient/1"}, "performer": [{"reference": "Patient/1"}],
        "category": [{"text": "x"}, {"coding": [{"system": system, "code": category}]}], "effectiveDateTime": "2026-01-01",
        "code": {"coding": [{"system": system, "code": code} for system, code in codings]}, **more,
    }  # fmt: skip


def quantity(code: str | None, system: str | None = UCUM) -> dict[str, Any]:
    members = {"value": 60, "system": system, "code": code}
    return {name: value for name, value in members.items() if value is not None}


def found(document: dict[str, Any]) -> list[tuple[str, str | None, str]]:
    return [(i.severity, i.expression, i.text) for i in validator().check("Observation", document) if "dom-6" not in i.text]


@pytest.mark.parametrize("sign", SIGNS, ids=lambda sign: sign.name)
def test_a_sign_has_its_code(sign: Any) -> None:
    """Another code for a vital sign is refused without the LOINC code that all have, and accepted beside it."""
    for other in (*((LOINC, code) for code in sign.other_loinc), *((SNOMED, code) for code in sign.snomed)):
        [(severity, where, text)] = found(observation(other))
        assert (severity, where) == ("error", "Observation.code") and f"{LOINC}|{sign.loinc}: {sign.advice}" in text
        assert found(observation(other, (LOINC, sign.loinc))) == []


@pytest.mark.parametrize(
    "document",
    [
        observation((SNOMED, "364075005"), category="exam"),
        observation((LOINC, "8478-0")),
        observation((SNOMED, "8867-4")),
        {**observation(), "code": {"text": "pulse"}},
    ],
    ids=["another category", "a sign without a profile", "the code of another system", "words only"],
)
def test_others_are_left_alone(document: dict[str, Any]) -> None:
    """What is in no category of vital signs, or is none that R4 has a code for, is not asked for one."""
    assert found(document) == []


@pytest.mark.parametrize(
    ("value", "warned"),
    [(quantity("/min"), False), (quantity("bpm"), True), (quantity("/min", "urn:x"), True), (quantity(None, None), True)],
)
def test_units(value: dict[str, Any], warned: bool) -> None:
    """A quantity in other units, or in none of UCUM, is warned of and kept."""
    problems = found(observation((LOINC, "8867-4"), valueQuantity=value))
    assert [(severity, where) for severity, where, _ in problems] == [("warning", "Observation.valueQuantity")] * warned
    assert all("/min" in text for *_, text in problems)


def test_units_of_blood_pressure() -> None:
    """The two pressures of a panel are looked at, whatever else it has."""
    parts = [("8462-4", "mm[Hg]"), ("8480-6", "kPa"), ("8478-0", "kPa")]
    components = [{"code": {"coding": [{"system": LOINC, "code": code}]}, "valueQuantity": quantity(unit)} for code, unit in parts]
    [(severity, where, _)] = found(observation(*PRESSURE, component=components))
    assert (severity, where) == ("warning", "Observation.component[1].valueQuantity")
