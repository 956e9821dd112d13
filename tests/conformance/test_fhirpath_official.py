"""HL7's own FHIRPath tests for R4, all of them, in the strict reading that they are written for."""

import gzip
import json
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

from conformance.fhirpath import FhirPathError, compile_expression
from conformance.fhirpath.temporal import Temporal

DATA = Path(__file__).parents[1] / "data"

DEVIATIONS: dict[str, str] = {}
"""Test name -> why this engine answers otherwise. None does today; a failing test that is not listed here is a regression."""


def lines(name: str) -> list[dict[str, Any]]:
    with gzip.open(DATA / name, "rt", encoding="utf-8") as file:
        return [json.loads(line, parse_float=Decimal) for line in file]


def without_comments(value: Any) -> Any:
    """The converter from XML left `fhir_comments`, which are no FHIR, and what is empty without them."""
    if isinstance(value, dict):
        kept = {k: without_comments(v) for k, v in value.items() if k != "fhir_comments"}
        return {k: v for k, v in kept.items() if v not in ({}, [], None)}
    return [without_comments(v) for v in value] if isinstance(value, list) else value


@lru_cache(maxsize=1)
def documents() -> dict[str, Any]:
    return {row["file"]: without_comments(row["resource"]) for row in lines("fhirpath-inputs.r4.ndjson.gz")}


def spelt(value: Any) -> str:
    """A value as the tests write it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Temporal):
        return f"@{'T' if value.kind == 'Time' else ''}{value}"
    return str(value)


def agrees(expected: dict[str, Any], found: tuple[str, Any]) -> bool:
    name, value = found
    if expected["type"] and expected["type"].lower() != name.removeprefix("System.").lower():
        return False
    if spelt(value) == expected["value"] or (expected["type"] == "date" and f"@{value}" == expected["value"]):
        return True
    try:
        return expected["type"] in ("integer", "decimal") and Decimal(expected["value"]) == value
    except InvalidOperation:
        return False


CASES = lines("fhirpath-tests.r4.ndjson.gz")


@pytest.mark.parametrize("case", CASES, ids=[f"{c['group']}/{c['name']}/{i}" for i, c in enumerate(CASES)])
def test_official_case(case: dict[str, Any]) -> None:
    """The expression gives the values, of the types, that HL7's test expects, or is refused where that is expected."""
    if case["name"] in DEVIATIONS:
        pytest.skip(DEVIATIONS[case["name"]])
    document = documents()[case.get("inputfile") or "patient-example.xml"]

    def run() -> list[tuple[str, Any]]:
        return compile_expression(case["expression"], document["resourceType"], strict=True).typed(document)

    if case.get("invalid"):
        with pytest.raises(FhirPathError):
            run()
        return
    found = run()
    if case.get("predicate") == "true" and not (len(found) == 1 and isinstance(found[0][1], bool)):
        found = [("System.Boolean", bool(found))]
    assert len(found) == len(case["outputs"])
    rest = list(found)
    for expected in case["outputs"]:
        match = next((f for f in (rest[:1] if case.get("ordered") != "false" else rest) if agrees(expected, f)), None)
        assert match is not None, f"{expected} is not among {rest}"
        rest.remove(match)


def test_all_935_are_here() -> None:
    """The suite is the whole one, and what deviates exists."""
    assert len(CASES) == 935
    assert set(DEVIATIONS) <= {c["name"] for c in CASES}
