"""Any scopes, any documents: what a search over HTTP finds is what the scopes give of what there is, no more and no less."""

from collections.abc import Iterator
from itertools import count

import pytest
from access.population import OTHER, OWN, Json, owners
from access.worlds import CALLERS, World
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fhir_server.access.granting import decision_of
from resources.store import Key
from search.extract import Extractor
from search.match import Document, allows
from search.parameters import registry
from smart_auth.access import Access
from smart_auth.roles import most
from smart_auth.scopes import ResourceScope, parse_scopes

LABORATORY, SURVEY = "laboratory", "survey"
"""Categories of these documents; without a system, which is enough to tell them apart."""


@st.composite
def documents(draw: st.DrawFn) -> list[Json]:
    """Observations and Conditions of two patients, or of nobody, in various states; by several patients at once too."""
    made = []
    for number in range(draw(st.integers(6, 14))):
        type = draw(st.sampled_from(("Observation", "Condition", "Appointment")))
        who = draw(st.sampled_from((OWN, OTHER, "")))
        document: Json = {"resourceType": type, "id": f"any-{number}"}
        if type == "Observation":
            document |= {"status": draw(st.sampled_from(("final", "amended"))), "code": {"text": "any"}}
            document |= {"performer": [{"reference": f"Patient/{OWN}"}]} if draw(st.booleans()) else {}
        if type == "Appointment":
            both = [each for each in (who, draw(st.sampled_from((OWN, OTHER, "")))) if each] or ["nobody"]
            people = [{"actor": {"reference": f"Patient/{each}"}, "status": "accepted"} for each in both]
            document |= {"status": "proposed", "participant": people}
        else:
            subject = f"Patient/{who}" if who else "Group/some"
            document |= {
                "subject": {"reference": subject},
                "category": [{"coding": [{"code": draw(st.sampled_from((LABORATORY, SURVEY)))}]}],
            }
        made.append(document)
    return made


_RESTRICTIONS = (
    "",
    "",
    "?category=laboratory",
    "?status=final",
    "?category=survey&status=final",
    "?category=laboratory,survey",
    "?code:text=a",
)


@st.composite
def accesses(draw: st.DrawFn) -> Access:
    """Somebody with any scopes: of each level, some types, some letters, some narrowed."""
    scopes = []
    for _ in range(draw(st.integers(1, 3))):
        level = draw(st.sampled_from(("patient", "user", "system")))
        type = draw(st.sampled_from(("Observation", "Condition", "Appointment", "*")))
        letters = draw(st.sampled_from(("rs", "s", "r", "cruds", "read")))
        narrowed = draw(st.sampled_from(_RESTRICTIONS)) if type == "Observation" and letters != "read" else ""
        scopes.append(f"{level}/{type}.{letters}{narrowed}")
    role = draw(st.sampled_from(("patient", "practitioner", "analyst", "front-desk", "auditor", "")))
    who = draw(st.sampled_from((OWN, OTHER)))
    user = {"patient": f"Patient/{who}", "": ""}.get(role, "Practitioner/shared")
    return Access("any", "app", " ".join(scopes), 0, role=role, patient=draw(st.sampled_from((who, ""))), fhir_user=user)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A server with nothing in it."""
    made = World(tmp_path_factory.mktemp("grants"), [], {"everything": CALLERS["everything"]})
    yield made
    made.close()


_numbers = count()
_extractor = Extractor(registry(), "http://records.test/fhir")


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(documents(), st.lists(accesses(), min_size=4, max_size=4))
def test_search_finds_what_the_scopes_give(world: World, made: list[Json], callers: list[Access]) -> None:
    """[G3] Over HTTP each caller finds, of all documents, those that `search.match.allows` allows by its scopes: as matches, in the
    total, and by reading each of them."""
    batch = f"batch-{next(_numbers)}"
    stored = [{**each, "id": f"{batch}-{each['id']}", "meta": {"tag": [{"code": batch}]}} for each in made]
    world.fill(stored)
    names = {f"{batch}-{number}": access for number, access in enumerate(callers)}
    world.issue(**names)
    for name, access in names.items():
        for type in ("Observation", "Condition", "Appointment"):
            expected = {letter: _allowed(access, letter, type, stored) for letter in ("s", "r")}
            told = world.get(name, f"{type}?_tag={batch}&_count=100&_total=accurate")
            if told.status == 403:
                assert not expected["s"], (access, told.body)
            else:
                found = told.json()
                assert {entry["resource"]["id"] for entry in found.get("entry", ())} == expected["s"], access
                assert found["total"] == len(expected["s"])
            read = {
                each["id"]
                for each in stored
                if each["resourceType"] == type and world.get(name, f"{type}/{each['id']}").status == 200
            }
            assert read == expected["r"], access


def _allowed(access: Access, letter: str, type: str, stored: list[Json]) -> set[str]:
    """The ids of the documents that the letter gives: by the decision's grants, and by what the scopes say in plain words."""
    own = (access.fhir_user.removeprefix("Patient/"),) if access.role == "patient" else ()
    reach = decision_of(access, own, "http://records.test/fhir").letter(letter)
    candidates = [each for each in stored if each["resourceType"] == type]
    by_grants = {each["id"] for each in candidates if reach is None or allows((), reach.of(type), _document(each))}
    by_words = {each["id"] for each in candidates if any(_gives(scope, letter, access, each) for scope in _meant(access))}
    assert by_grants == by_words, access
    return by_grants


def _document(each: Json) -> Document:
    return Document(Key(each["resourceType"], each["id"]), _extractor.extract(each["resourceType"], each), 1)


def _meant(access: Access) -> tuple[ResourceScope, ...]:
    return parse_scopes(access.scopes).resources


def _gives(scope: ResourceScope, letter: str, access: Access, document: Json) -> bool:
    """Whether the scope gives the letter on the document, as docs/smart.md says it."""
    type, role = document["resourceType"], access.role
    if letter not in scope.letters or scope.type not in ("*", type) or not all(_holds(pair, document) for pair in scope.narrowed):
        return False
    if role and not most(role).cover(ResourceScope(scope.level, type, letter)):
        return False
    own = access.fhir_user.removeprefix("Patient/") if role == "patient" else None
    if scope.level == "system":
        return not role
    if scope.level == "user":
        return bool(role) and (own is None or own in owners(document))
    return bool(access.patient) and own in (None, access.patient) and access.patient in owners(document)


def _holds(pair: tuple[str, str], document: Json) -> bool:
    name, value = pair
    if name == "category":
        return any(coding["code"] in value.split(",") for category in document["category"] for coding in category["coding"])
    if name == "status":
        return bool(document["status"] == value)
    assert pair == ("code:text", "a")
    return bool(document["code"]["text"].startswith("a"))
