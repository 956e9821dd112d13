"""What R4 requires of vital signs (https://hl7.org/fhir/R4/observation-vitalsigns.html).

An Observation of the category `vital-signs` carries the LOINC code of its sign, beside any other code for it, so that a pulse is found
as a pulse whoever recorded it; its quantity is in the units of UCUM that the sign is compared in.
"""

from typing import Any, NamedTuple

from conformance.findings import Finding, Findings, Scope, dicts, shown

Json = dict[str, Any]

LOINC, SNOMED, UCUM = "http://loinc.org", "http://snomed.info/sct", "http://unitsofmeasure.org"
CATEGORY = ("http://terminology.hl7.org/CodeSystem/observation-category", "vital-signs")


class Sign(NamedTuple):
    """A vital sign: its LOINC code, the UCUM codes of its quantity, other codes that mean the same or one kind of it, and what to do who
    has none but these."""

    name: str
    loinc: str
    units: tuple[str, ...]
    other_loinc: tuple[str, ...]
    snomed: tuple[str, ...]
    advice: str = "add it to the other codings"


SIGNS = (
    Sign("respiratory rate", "9279-1", ("/min",), (), ("86290005",)),
    Sign("heart rate", "8867-4", ("/min",), ("68999-2", "8889-8", "40443-4"), ("364075005", "78564009")),
    Sign("oxygen saturation", "2708-6", ("%",), ("59408-5",), ("431314004", "103228002")),
    Sign(
        "body temperature",
        "8310-5",
        ("Cel", "[degF]"),
        ("8328-7", "8329-5", "8330-3", "8331-1", "8332-9", "8333-7", "8334-5"),
        ("386725007", "276885007", "307047009", "415945006"),
    ),
    Sign("body height", "8302-2", ("cm", "[in_i]"), ("8301-4", "8305-5", "8306-3", "8308-9", "3137-7", "3138-5"), ("50373000",)),
    Sign("head circumference", "9843-4", ("cm", "[in_i]"), ("8287-5",), ("363812007",)),
    Sign("body weight", "29463-7", ("g", "kg", "[lb_av]"), ("3141-9", "3142-7", "8341-0", "8351-9"), ("27113001",)),
    Sign("body mass index", "39156-5", ("kg/m2",), (), ("60621009",)),
    Sign(
        "blood pressure",
        "85354-9",
        (),
        ("8480-6", "8462-4", "76534-7", "76535-4"),
        ("75367002", "271649006", "271650006"),
        "it is one Observation with the systolic (8480-6) and diastolic (8462-4) pressure as its components",
    ),
)
_COMPONENTS = {"8480-6": ("mm[Hg]",), "8462-4": ("mm[Hg]",)}

_BY_LOINC = {(LOINC, sign.loinc): sign for sign in SIGNS}
_BY_OTHER = {
    (system, code): sign for sign in SIGNS for system, codes in ((LOINC, sign.other_loinc), (SNOMED, sign.snomed)) for code in codes
}


def vital_sign_check(node: Json, scope: Scope) -> Findings:
    """The check of an Observation; of other categories nothing is asked."""
    if not any(CATEGORY in _codings(concept) for concept in dicts(node.get("category"))):
        return None
    codings = _codings(node.get("code"))
    sign = next((_BY_LOINC[coding] for coding in codings if coding in _BY_LOINC), None)
    if sign is None:
        meant = next((_BY_OTHER[coding] for coding in codings if coding in _BY_OTHER), None)
        if meant is None:
            return None
        text = f"an Observation of {meant.name} as a vital sign has the coding {LOINC}|{meant.loinc}: {meant.advice}"
        return [Finding(text, "required", path="code")]
    found = _quantity(node, sign.units, "valueQuantity")
    for number, part in enumerate(dicts(node.get("component"))):
        units = next(
            (_COMPONENTS[code] for system, code in _codings(part.get("code")) if system == LOINC and code in _COMPONENTS), ()
        )
        found += _quantity(part, units, f"component[{number}].valueQuantity")
    return found or None


def _quantity(node: Json, units: tuple[str, ...], path: str) -> list[Finding]:
    """A warning where a quantity is not in the units of the sign: it is kept, though others may not compare it."""
    value = node.get("valueQuantity")
    if not units or not isinstance(value, dict) or (value.get("system") == UCUM and value.get("code") in units):
        return []
    told = f"{value.get('system', 'no system')}|{value.get('code', 'no code')}"
    return [Finding(f"should be in {' or '.join(units)} of {UCUM}, not in {shown(told)}", "value", "warning", path=path)]


def _codings(concept: Any) -> list[tuple[str, str]]:
    """(system, code) of each coding of a CodeableConcept, as text whatever they are."""
    return [
        (str(one.get("system")), str(one.get("code")))
        for one in dicts(concept.get("coding") if isinstance(concept, dict) else None)
    ]
