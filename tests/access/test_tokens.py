"""Who has no token, or none that is good, gets 401 whatever is asked; who has too little of a scope, 403."""

import asyncio
from collections.abc import Iterator

import pytest
from access.population import OTHER, OWN, made_of
from access.worlds import FHIR, Ask, World, issued, without_other

from fhir_server.config import Settings
from smart_auth.access import Access


def _kim(scopes: str, expires: int = 0) -> Access:
    return Access("kim", "app", scopes, expires, role="patient", patient=OWN, fhir_user=f"Patient/{OWN}")


CALLERS = {
    "everything": Access("loader", "loader", "system/*.cruds", 0),
    "expired": _kim("patient/*.cruds", expires=1),
    "observations": _kim("patient/Observation.rs patient/Patient.r"),
    "version 1": _kim("patient/Observation.read patient/Goal.write"),
    "out of order": _kim("patient/Observation.sr patient/Goal.duc"),
    "no scope": _kim("openid launch/patient"),
    "update": Access("service", "service", "system/Observation.ru", 0),
    "create": Access("service", "service", "system/Observation.crs", 0),
    "no such role": Access("kim", "app", "user/*.cruds patient/*.cruds", 0, role="root", patient=OWN),
    "no patient": Access("kim", "app", "patient/*.cruds", 0, role="practitioner"),
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One patient's record."""
    made = World(tmp_path_factory.mktemp("tokens"), without_other(), CALLERS)
    yield made
    made.close()


ROADS = (
    Ask("read", "GET", f"Patient/{OWN}"),
    Ask("read of none", "GET", "Patient/nobody"),
    Ask("head", "HEAD", f"Patient/{OWN}"),
    Ask("vread", "GET", f"Patient/{OWN}/_history/1"),
    Ask("history", "GET", "_history"),
    Ask("search", "GET", "Observation"),
    Ask("search by form", "POST", "Observation/_search", "_id=1", {"Content-Type": "application/x-www-form-urlencoded"}),
    Ask("search of all", "GET", "?_id=1"),
    Ask("compartment", "GET", f"Patient/{OWN}/Observation"),
    Ask("everything", "GET", f"Patient/{OWN}/$everything"),
    Ask("meta", "GET", "$meta"),
    Ask("lastn", "GET", f"Observation/$lastn?patient={OWN}"),
    Ask("create", "POST", "Observation", made_of("Observation", OWN)),
    Ask("update", "PUT", f"Observation/{OWN}-survey", made_of("Observation", OWN)),
    Ask("delete", "DELETE", f"Observation/{OWN}-survey"),
    Ask("conditional delete", "DELETE", "Observation?status=final"),
    Ask("batch", "POST", "", {"resourceType": "Bundle", "type": "batch", "entry": []}),
    Ask("validate", "POST", "Observation/$validate", made_of("Observation", OWN)),
    Ask("reindex", "POST", "$reindex", {"resourceType": "Parameters"}),
)


@pytest.mark.parametrize("ask", ROADS, ids=lambda ask: ask.road)
def test_nothing_without_a_token(ask: Ask, world: World) -> None:
    """[C13] Without a token everything but the CapabilityStatement is 401, with the challenge of RFC 6750, whether it is there or not."""
    told = world.ask("", ask)
    assert told.status == 401
    assert told.headers["www-authenticate"].startswith("Bearer ")
    assert OWN not in told.body.decode() or OWN in ask.path


@pytest.mark.parametrize("ask", ROADS, ids=lambda ask: ask.road)
def test_expired_tokens_are_refused(ask: Ask, world: World) -> None:
    """[C18] A token that has expired is 401 invalid_token, and says no more than one that never was."""
    expired, unknown = world.ask("expired", ask), world.ask("never-issued", ask)
    assert expired.status == 401
    assert 'error="invalid_token"' in expired.headers["www-authenticate"]
    assert expired.normal() == unknown.normal()


def test_capabilities_need_no_token(world: World) -> None:
    """The CapabilityStatement is for everybody."""
    assert world.get("", "metadata").status == 200


def test_token_of_another_server_is_none(world: World, tmp_path_factory: pytest.TempPathFactory) -> None:
    """[C18] A token that another server gave out, for another audience, is 401 here."""
    elsewhere = Settings(data_dir=tmp_path_factory.mktemp("elsewhere"), auth="smart")
    foreign = asyncio.run(issued(elsewhere, {"foreign": Access("loader", "loader", "system/*.cruds", 0)}))["foreign"]
    assert world.get(foreign, f"Patient/{OWN}").status == 401


@pytest.mark.parametrize(
    "authorization",
    ["", "Bearer", "Bearer ", "Basic {token}", "Token {token}", "{token}", "Bearer {token} x", "Bearer x{token}", "Bearer {upper}"],
)
def test_what_is_no_bearer_token_is_refused(authorization: str, world: World) -> None:
    """Another scheme, no token, or a token with anything changed is 401; nothing falls back to being asked for nothing."""
    token = world.tokens["everything"]
    headers = {"Authorization": authorization.format(token=token, upper=token.upper())}
    assert world.ask("", Ask("", "GET", f"Patient/{OWN}", headers=headers)).status == 401


def test_token_in_the_address_is_none(world: World) -> None:
    """A token in the query string, where logs keep it, is no token (RFC 6750, 2.3)."""
    assert world.get("", f"Patient/{OWN}?access_token={world.tokens['everything']}").status == 401


@pytest.mark.parametrize(
    "path",
    [f"Condition/{OWN}-condition", "Condition/nobody", "Condition", f"Condition?patient={OWN}", "Condition/_history"],
)
def test_types_that_were_not_granted_are_refused(path: str, world: World) -> None:
    """[G2, C18] A type that no scope names is 403, not an empty answer; and what exists of it is not told."""
    told = world.get("observations", path)
    assert told.status == 403
    assert told.json()["resourceType"] == "OperationOutcome"


@pytest.mark.parametrize(
    ("caller", "ask", "status"),
    [
        ("observations", Ask("", "GET", f"Observation/{OWN}-survey"), 200),
        ("observations", Ask("", "GET", "Observation"), 200),
        ("observations", Ask("", "GET", f"Patient/{OWN}"), 200),
        ("observations", Ask("", "GET", "Patient"), 403),
        ("observations", Ask("", "DELETE", f"Observation/{OWN}-survey"), 403),
        ("observations", Ask("", "POST", "Observation", made_of("Observation", OWN)), 403),
        ("version 1", Ask("", "GET", f"Observation/{OWN}-survey"), 200),
        ("version 1", Ask("", "GET", "Observation"), 200),
        ("version 1", Ask("", "PUT", f"Observation/{OWN}-observation", made_of("Observation", OWN)), 403),
        ("version 1", Ask("", "PUT", f"Goal/{OWN}-goal", made_of("Goal", OWN)), 200),
        ("version 1", Ask("", "GET", f"Goal/{OWN}-goal"), 403),
        ("version 1", Ask("", "GET", "Goal"), 403),
        ("out of order", Ask("", "GET", f"Observation/{OWN}-survey"), 403),
        ("out of order", Ask("", "GET", "Observation"), 403),
        ("out of order", Ask("", "PUT", f"Goal/{OWN}-goal", made_of("Goal", OWN)), 403),
        ("update", Ask("", "PUT", "Observation/made-by-update", {**made_of("Observation", OWN), "id": "made-by-update"}), 201),
        ("update", Ask("", "POST", "Observation", made_of("Observation", OWN)), 403),
        ("update", Ask("", "GET", "Observation"), 403),
        ("create", Ask("", "PUT", "Observation/made-by-create", {**made_of("Observation", OWN), "id": "made-by-create"}), 403),
        ("create", Ask("", "POST", "Observation", made_of("Observation", OWN)), 201),
        ("create", Ask("", "POST", "Observation", made_of("Observation", OWN), {**FHIR, "If-None-Exist": "_id=none"}), 201),
        ("no scope", Ask("", "GET", f"Patient/{OWN}"), 403),
        ("no scope", Ask("", "GET", "Patient"), 403),
        ("no such role", Ask("", "GET", f"Patient/{OWN}"), 403),
        ("no patient", Ask("", "GET", f"Patient/{OWN}"), 403),
        ("no patient", Ask("", "GET", "Observation"), 403),
    ],
    ids=lambda value: f"{value.method} {value.path}" if isinstance(value, Ask) else str(value),
)
def test_letters_allow_what_they_say(caller: str, ask: Ask, status: int, world: World) -> None:
    """[G5, G6] Each letter allows its own interactions and no other; `u` makes what an update names; version 1 means its letters, and
    letters out of order mean nothing."""
    told = world.ask(caller, ask)
    assert told.status == status, told.body


def test_each_entry_of_a_bundle_is_checked_alone(world: World) -> None:
    """[G5] In a batch each entry needs its own scope, in a transaction one that is refused refuses all."""
    entries = [
        {"request": {"method": "GET", "url": f"Observation/{OWN}-survey"}},
        {"request": {"method": "GET", "url": f"Condition/{OWN}-condition"}},
        {"request": {"method": "GET", "url": "Condition?_total=accurate"}},
        {"request": {"method": "DELETE", "url": f"Observation/{OWN}-survey"}},
        {"resource": made_of("Observation", OWN), "request": {"method": "POST", "url": "Observation"}},
        {"request": {"method": "GET", "url": f"Observation/{OTHER}-survey"}},
    ]
    told = world.ask("observations", Ask("", "POST", "", {"resourceType": "Bundle", "type": "batch", "entry": entries}))
    assert [entry["response"]["status"][:3] for entry in told.json()["entry"]] == ["200", "403", "403", "403", "403", "404"]
    for entry in entries[1:5]:
        bundle = {"resourceType": "Bundle", "type": "transaction", "entry": [entry]}
        assert world.ask("observations", Ask("", "POST", "", bundle)).status == 403
    assert world.get("everything", f"Observation/{OWN}-survey").status == 200


@pytest.mark.parametrize(
    "path",
    [
        "Condition?code=x",
        "Observation?_has:Provenance:target:agent=Practitioner/shared",
        "?_type=Condition&_tag=x",
        f"Patient/{OWN}/Condition",
        f"Patient/{OWN}/*",
        f"Patient/{OWN}/$everything",
        "_history",
        "$meta",
        "Observation?encounter.status=finished",
        "Observation?_include=Observation:encounter",
        "Observation?_revinclude=Provenance:target",
    ],
)
def test_searches_beyond_the_scopes_are_refused_or_filtered(path: str, world: World) -> None:
    """[G7] A search that leads to types without a scope is 403, or answers without anything of these types."""
    told = world.get("observations", path)
    if told.status == 403:
        return
    assert told.status == 200, told.body
    types = {entry["resource"]["resourceType"] for entry in told.json().get("entry", ()) if "resource" in entry}
    assert types <= {"Observation", "Patient", "OperationOutcome"}
