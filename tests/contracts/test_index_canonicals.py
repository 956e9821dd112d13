"""`_include` and `_revinclude` through canonical URLs, on every index (https://hl7.org/fhir/R4/references.html#canonical)."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from contracts.filling import BASE, INDEXES, Filled, all_applied, filled_with, grant, key, rule, run
from contracts.index_harness import PARAMETERS
from population.oracle import Oracle

from resources.store import Key
from search.index import SearchIndex
from search.match import Document
from search.query import Compartment, Include

URL = "http://q.example/form"
LONG = f"{URL}/{'x' * 300}"


def form(url: str, version: str = "", **more: Any) -> dict[str, Any]:
    return {"status": "active", "url": url, **({"version": version} if version else {}), **more}


def answered(canonical: str, patient: str = "1", **more: Any) -> dict[str, Any]:
    return {"status": "completed", "questionnaire": canonical, "subject": {"reference": f"Patient/{patient}"}, **more}


def depending(*canonicals: str) -> dict[str, Any]:
    return {"status": "active", "relatedArtifact": [{"type": "depends-on", "resource": each} for each in canonicals]}


DOCUMENTS: dict[str, dict[str, Any]] = {
    "Patient/1": {"active": True},
    "Patient/2": {"active": True},
    "Questionnaire/v1": form(URL, "1", title="first"),
    "Questionnaire/v2": form(URL, "2", title="second"),
    "Questionnaire/plain": form("urn:oid:1.2.3"),
    "Questionnaire/long": form(LONG),
    "Questionnaire/old": form("http://q.example/old", "1" * 300),
    "Questionnaire/odd": form(f"{URL}?a=*|1"),
    "Questionnaire/named": form("http://q.example/other", derivedFrom=[URL]),
    "ValueSet/1": form(URL, "1"),
    "QuestionnaireResponse/any": answered(URL),
    "QuestionnaireResponse/1": answered(f"{URL}|1"),
    "QuestionnaireResponse/2": answered(f"{URL}|2", "2"),
    "QuestionnaireResponse/3": answered(f"{URL}|3"),
    "QuestionnaireResponse/below": answered(f"{URL}/below"),
    "QuestionnaireResponse/open": answered(f"{URL}|"),
    "QuestionnaireResponse/urn": answered("urn:oid:1.2.3"),
    "QuestionnaireResponse/long": answered(LONG),
    "QuestionnaireResponse/odd": answered(f"{URL}?a=*|1"),
    "QuestionnaireResponse/old": answered("http://q.example/old"),
    "QuestionnaireResponse/own": answered(f"{BASE}/Questionnaire/plain|7"),
    "PlanDefinition/1": {"status": "active", "url": "http://q.example/plan", "action": [{"definitionCanonical": f"{URL}|2"}]},
    "PlanDefinition/2": {**depending("http://q.example/lib|1", "http://q.example/lib"), "action": [{"definitionUri": f"{URL}|1"}]},
    "PlanDefinition/3": depending("http://q.example/lib|2", "http://q.example/lib|1"),
    "Library/1": form("http://q.example/lib", "1", type={"text": "x"}, relatedArtifact=depending(URL)["relatedArtifact"]),
    "Library/2": form("http://q.example/lib", "2", type={"text": "x"}),
    "CarePlan/1": {
        "status": "active",
        "intent": "plan",
        "subject": {"reference": "Patient/1"},
        "instantiatesCanonical": ["http://q.example/plan", f"{URL}|2"],
    },
    "CapabilityStatement/1": {"status": "active", "implementationGuide": ["http://q.example/guide|4"]},
    "ImplementationGuide/1": form("http://q.example/guide", "4"),
}

ANSWERED = rule("QuestionnaireResponse:questionnaire")
ANSWERS = rule("QuestionnaireResponse:questionnaire", reverse=True)
BOTH = "Questionnaire/v1 Questionnaire/v2"

FOLLOWED: list[tuple[str, list[Include], str]] = [
    ("QuestionnaireResponse/any", [ANSWERED], BOTH),
    ("QuestionnaireResponse/open", [ANSWERED], BOTH),
    ("QuestionnaireResponse/1", [ANSWERED], "Questionnaire/v1"),
    ("QuestionnaireResponse/1 QuestionnaireResponse/2", [ANSWERED], BOTH),
    ("QuestionnaireResponse/3 QuestionnaireResponse/below", [ANSWERED], ""),
    ("QuestionnaireResponse/urn", [ANSWERED], "Questionnaire/plain"),
    ("QuestionnaireResponse/long QuestionnaireResponse/odd", [ANSWERED], ""),
    ("QuestionnaireResponse/old", [ANSWERED], "Questionnaire/old"),
    ("Questionnaire/old", [ANSWERS], "QuestionnaireResponse/old"),
    ("QuestionnaireResponse/own", [ANSWERED], "Questionnaire/plain"),
    ("QuestionnaireResponse/1", [rule("QuestionnaireResponse:*")], "Patient/1 Questionnaire/v1"),
    ("QuestionnaireResponse/any", [rule("QuestionnaireResponse:*:Patient")], "Patient/1"),
    ("QuestionnaireResponse/any Questionnaire/v1", [ANSWERED], "Questionnaire/v2"),
    ("PlanDefinition/1", [rule("PlanDefinition:definition")], "Questionnaire/v2"),
    ("PlanDefinition/2", [rule("PlanDefinition:definition")], "Questionnaire/v1"),
    ("PlanDefinition/2", [rule("PlanDefinition:depends-on")], "Library/1"),
    ("PlanDefinition/3", [rule("PlanDefinition:depends-on")], "Library/1 Library/2"),
    ("PlanDefinition/2 PlanDefinition/3", [rule("PlanDefinition:depends-on:ValueSet")], ""),
    ("Library/1", [rule("Library:depends-on")], f"{BOTH} ValueSet/1"),
    ("Library/1", [rule("Library:depends-on:ValueSet")], "ValueSet/1"),
    ("CarePlan/1", [rule("CarePlan:instantiates-canonical")], "PlanDefinition/1 Questionnaire/v2"),
    ("CarePlan/1", [rule("CarePlan:instantiates-canonical:PlanDefinition")], "PlanDefinition/1"),
    ("CapabilityStatement/1", [rule("CapabilityStatement:guide")], "ImplementationGuide/1"),
    (
        "PlanDefinition/2",
        [rule("PlanDefinition:depends-on"), rule("Library:depends-on:ValueSet", iterate=True)],
        "Library/1 ValueSet/1",
    ),
    ("PlanDefinition/2", [rule("PlanDefinition:depends-on"), rule("Library:depends-on:ValueSet")], "Library/1"),
    (
        "Questionnaire/v1",
        [ANSWERS],
        "QuestionnaireResponse/1 QuestionnaireResponse/any QuestionnaireResponse/open",
    ),
    ("Questionnaire/v2", [rule("PlanDefinition:definition", reverse=True)], "PlanDefinition/1"),
    ("Questionnaire/v1", [rule("PlanDefinition:definition", reverse=True)], "PlanDefinition/2"),
    ("Questionnaire/plain", [ANSWERS], "QuestionnaireResponse/own QuestionnaireResponse/urn"),
    ("Questionnaire/long Questionnaire/odd Questionnaire/named", [ANSWERS], ""),
    ("ValueSet/1", [ANSWERS], ""),
    ("ValueSet/1", [rule("Library:depends-on", reverse=True)], "Library/1"),
    ("Library/1", [rule("PlanDefinition:depends-on", reverse=True)], "PlanDefinition/2 PlanDefinition/3"),
    ("Library/2", [rule("PlanDefinition:*", reverse=True)], "PlanDefinition/3"),
    ("Questionnaire/v1", [rule("CarePlan:*:Questionnaire", reverse=True)], ""),
    (
        "Questionnaire/v2",
        [
            rule("PlanDefinition:definition", reverse=True),
            rule("CarePlan:instantiates-canonical:PlanDefinition", reverse=True, iterate=True),
        ],
        "CarePlan/1 PlanDefinition/1",
    ),
    (
        "Patient/1 Questionnaire/v2",
        [rule("QuestionnaireResponse:*:Questionnaire", reverse=True)],
        "QuestionnaireResponse/2 QuestionnaireResponse/any QuestionnaireResponse/open",
    ),
]


@pytest.fixture(params=INDEXES)
def defined(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Filled]:
    """An index of each kind with DOCUMENTS in it."""
    with filled_with(DOCUMENTS, request, tmp_path) as made:
        yield made


def addresses(keys: list[Key]) -> list[str]:
    return sorted(f"{key.type}/{key.id}" for key in keys)


@pytest.mark.parametrize(("page", "rules", "expected"), FOLLOWED, ids=range(len(FOLLOWED)))
def test_canonicals_lead_to_what_has_their_url(defined: Filled, page: str, rules: list[Include], expected: str) -> None:
    """A URL leads to all documents that have it, with a version to those of that version; each once, and what fits is not cut."""
    documents = [Document(Key(c.type, c.id, c.row), c.entry, c.instant) for c in all_applied(DOCUMENTS)]

    async def test(index: SearchIndex) -> None:
        keys = [key(address) for address in page.split()]
        result = await index.include(keys, rules, limit=len(expected.split()))
        assert addresses(result.keys) == expected.split() == sorted(Oracle(documents).included(keys, rules, None))
        assert not result.truncated
        if expected:
            cut = await index.include(keys, rules, limit=len(expected.split()) - 1)
            assert (len(cut.keys), cut.truncated) == (len(expected.split()) - 1, True)

    run(defined, test)


NARROWED: list[tuple[str, Include, dict[str, Any], str]] = [
    ("QuestionnaireResponse/any", ANSWERED, {"allowed": (grant("Questionnaire?title=second"),)}, "Questionnaire/v2"),
    ("QuestionnaireResponse/1", ANSWERED, {"allowed": (grant("Questionnaire?title=second"),)}, ""),
    ("QuestionnaireResponse/any", ANSWERED, {"allowed": ()}, ""),
    ("QuestionnaireResponse/any", ANSWERED, {"compartments": [Compartment("1")]}, ""),
    ("Questionnaire/v1 Questionnaire/v2", ANSWERS, {"compartments": [Compartment("2")]}, "QuestionnaireResponse/2"),
    ("Questionnaire/v2", ANSWERS, {"allowed": (grant("QuestionnaireResponse", "2"),)}, "QuestionnaireResponse/2"),
    ("Questionnaire/v2", ANSWERS, {"allowed": (grant("Questionnaire"),)}, ""),
]


@pytest.mark.parametrize(("page", "asked", "access", "expected"), NARROWED, ids=range(len(NARROWED)))
def test_canonicals_do_not_leak(defined: Filled, page: str, asked: Include, access: dict[str, Any], expected: str) -> None:
    """Nothing is included that the compartments and grants do not leave, and it takes no room from the rest."""

    async def test(index: SearchIndex) -> None:
        keys = [key(address) for address in page.split()]
        result = await index.include(keys, [asked], limit=len(expected.split()), **access)
        assert addresses(result.keys) == expected.split()
        assert not result.truncated

    run(defined, test)


def test_what_is_not_stored_by_url_is_not_named_by_it() -> None:
    """Only types with a URL and versions of their own are named by canonicals; references to anything else stay as they are."""
    found = {p.code: p for p in PARAMETERS.of("Library").values()}
    assert "Device" not in found["depends-on"].ends and "Patient" not in found["depends-on"].ends
    assert {"Library", "ValueSet", "Questionnaire"} <= set(found["depends-on"].ends)
    assert not PARAMETERS.of("Observation")["subject"].canonicals
    assert ANSWERED.parameters[0].ends == ("Questionnaire",)
