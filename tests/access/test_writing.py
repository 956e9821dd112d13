"""Nothing of the other patient, by any road that writes: nothing told, nothing changed, whether it is there or not."""

from collections.abc import Iterator

import pytest
from access import roads
from access.comparing import leaks, next_link
from access.population import COMPARTMENT, LOOSE, OTHER, OWN, Json, made_of, name, secret
from access.worlds import Ask, World, everything, without_other

from smart_auth.access import Access

TYPES = (*(type for type in COMPARTMENT if type != "AuditEvent"), *LOOSE)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Both patients."""
    world = World(tmp_path_factory.mktemp("whole"), everything())
    own = Access("kim", "app", "user/*.cruds", 0, role="patient", fhir_user=f"Patient/{OWN}")
    launched = Access("ann", "app", "patient/*.cruds", 0, role="practitioner", patient=OWN, fhir_user="Practitioner/shared")
    world.issue(**{"one's own": own, "launched": launched})
    yield world
    world.close()


@pytest.fixture(scope="module")
def without(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One patient, as if there had never been another."""
    world = World(tmp_path_factory.mktemp("without"), without_other())
    yield world
    world.close()


@pytest.mark.parametrize("type", TYPES)
def test_writing_tells_nothing_and_changes_nothing(type: str, whole: World, without: World) -> None:
    """Updates, patches, deletions, conditional ones, and entries of Bundles at the other patient's document are answered as for one that
    never was, and leave it as it is."""
    other = f"{type}/{name(OTHER, type)}"
    before = whole.get("everything", other)
    assert before.status == 200
    assert leaks(roads.writing(type, made_of(type, OWN)), "patient", whole, without) == []
    assert whole.get("everything", other).body == before.body


def _observation(who: str, **more: object) -> Json:
    made = made_of("Observation", who)
    return {**{key: value for key, value in made.items() if key != "id"}, **more}


def test_own_record_can_be_written(whole: World) -> None:
    """[G5] With `cruds` for the own record a document is created, changed, found and deleted."""
    made = whole.ask("patient", Ask("create", "POST", "Observation", _observation(OWN)))
    assert made.status == 201, made.body
    id = made.json()["id"]
    changed = whole.ask("patient", Ask("update", "PUT", f"Observation/{id}", {**_observation(OWN, status="amended"), "id": id}))
    assert changed.status == 200, changed.body
    assert whole.get("patient", f"Observation?_id={id}&status=amended&_total=accurate").json()["total"] == 1
    assert whole.ask("patient", Ask("delete", "DELETE", f"Observation/{id}")).status in (200, 204)
    assert whole.get("patient", f"Observation/{id}").status == 410


@pytest.mark.parametrize("who", [OTHER, "nobody"])
def test_nothing_is_written_into_another_record(who: str, whole: World) -> None:
    """A document about somebody else is neither created nor can one's own be turned into one: 403 whoever that is."""
    subject = {"reference": f"Patient/{who}"}
    created = whole.ask("patient", Ask("create", "POST", "Observation", {**_observation(OWN), "subject": subject}))
    own = f"Observation/{OWN}-survey"
    turned = whole.ask("patient", Ask("update", "PUT", own, {**_observation(OWN), "id": f"{OWN}-survey", "subject": subject}))
    patch = f'[{{"op": "replace", "path": "/subject/reference", "value": "Patient/{who}"}}]'
    patched = whole.ask("patient", Ask("patch", "PATCH", own, patch, roads.PATCH))
    batch = roads.bundled("batch", ("POST", "Observation", {**_observation(OWN), "subject": subject}))
    entry = whole.ask("patient", Ask("batch", "POST", "", batch)).json()["entry"][0]
    assert [told.status for told in (created, turned, patched)] == [403, 403, 403]
    assert entry["response"]["status"].startswith("403")
    assert whole.get("patient", own).json()["subject"] == {"reference": f"Patient/{OWN}"}


@pytest.mark.parametrize("who", [OTHER, "nobody"])
def test_second_link_brings_nothing_into_another_record(who: str, whole: World) -> None:
    """Whoever performed it cannot make an Observation another patient's, neither by creating nor by changing it: 403 whoever that is."""
    subject = {"reference": f"Patient/{who}"}
    document = {**_observation(OWN), "subject": subject, "performer": [{"reference": f"Patient/{OWN}"}]}
    created = whole.ask("patient", Ask("create", "POST", "Observation", document))
    own = f"Observation/{OWN}-vital-signs"
    changed = whole.ask("patient", Ask("update", "PUT", own, {**document, "id": f"{OWN}-vital-signs"}))
    entry = roads.bundled("transaction", ("PUT", own, {**document, "id": f"{OWN}-vital-signs"}))
    assert [created.status, changed.status, whole.ask("patient", Ask("transaction", "POST", "", entry)).status] == [403, 403, 403]
    assert whole.get("patient", own).json()["subject"] == {"reference": f"Patient/{OWN}"}


@pytest.mark.parametrize("caller", ["patient", "one's own", "launched"])
def test_what_two_patients_share_is_not_one_s_to_change(caller: str, whole: World) -> None:
    """A document that lies in two records is read by either patient, and neither changed nor deleted, whatever the road: 403."""
    people = [{"actor": {"reference": f"Patient/{who}"}, "status": "accepted"} for who in (OWN, OTHER)]
    appointment = {"resourceType": "Appointment", "id": "both", "status": "proposed", "participant": people}
    assert whole.ask("everything", Ask("", "PUT", "Appointment/both", appointment)).status == 201
    contract = {"resourceType": "Contract", "id": "both", "subject": [{"reference": f"Patient/{who}"} for who in (OWN, OTHER)]}
    group = {"resourceType": "Group", "id": "both", "type": "person", "actual": True}
    group |= {"member": [{"entity": {"reference": f"Patient/{who}"}} for who in (OWN, OTHER)]}
    linked = {"resourceType": "Patient", "id": "both", "link": [{"other": {"reference": f"Patient/{OWN}"}, "type": "seealso"}]}
    for document in (appointment, contract, group, linked):
        path = f"{document['resourceType']}/both"
        assert whole.ask("everything", Ask("", "PUT", path, document)).status in (200, 201)
        assert whole.get(caller, path).status == 200
        alone = {"resourceType": document["resourceType"], "id": "both", "language": "en"}
        alone |= {name: value[:1] for name, value in document.items() if isinstance(value, list)}
        patch = '[{"op": "add", "path": "/language", "value": "en"}]'
        refused = [
            whole.ask(caller, Ask("", "PUT", path, {**document, "language": "en"})).status,
            whole.ask(caller, Ask("", "PUT", path, {**document, **alone})).status,
            whole.ask(caller, Ask("", "PATCH", path, patch, roads.PATCH)).status,
            whole.ask(caller, Ask("", "DELETE", path)).status,
            whole.ask(caller, Ask("", "DELETE", f"{document['resourceType']}?_id=both")).status,
            whole.ask(caller, Ask("", "POST", "", roads.bundled("transaction", ("DELETE", path, None)))).status,
        ]
        assert refused == [403] * len(refused), path
        assert "language" not in whole.get("everything", path).json()
        assert whole.ask("everything", Ask("", "DELETE", path)).status == 204


@pytest.mark.parametrize("caller", ["patient", "one's own", "launched"])
def test_of_patients_only_oneself_is_written(caller: str, whole: World) -> None:
    """The own Patient can be changed; another one that links to it can neither be made nor taken over."""
    linked = {"resourceType": "Patient", "link": [{"other": {"reference": f"Patient/{OWN}"}, "type": "seealso"}]}
    assert whole.ask(caller, Ask("", "POST", "Patient", linked)).status == 403
    own = whole.get(caller, f"Patient/{OWN}").json()
    assert whole.ask(caller, Ask("", "PUT", f"Patient/{OWN}", {**own, "gender": "other"})).status == 200
    assert whole.ask("everything", Ask("", "PUT", f"Patient/{OWN}", own)).status == 200


@pytest.mark.parametrize("who", [OTHER, "nobody"])
def test_second_subject_brings_no_contract_into_another_record(who: str, whole: World) -> None:
    """Types outside of the compartment that name their patient are bound to that one too."""
    contract = {"resourceType": "Contract", "subject": [{"reference": f"Patient/{each}"} for each in (OWN, who)]}
    assert whole.ask("patient", Ask("", "POST", "Contract", contract)).status == 403
    own = f"Contract/{name(OWN, 'Contract')}"
    assert whole.ask("patient", Ask("", "PUT", own, {**contract, "id": own.partition("/")[2]})).status == 403
    assert whole.ask("patient", Ask("", "PUT", own, made_of("Contract", OWN))).status == 200


@pytest.mark.parametrize(("who", "status"), [(OWN, 201), (OTHER, 403)])
def test_key_of_another_client_gives_no_answer_of_its(who: str, status: int, whole: World) -> None:
    """An Idempotency-Key that another caller has used is new to this one, even with the very same body."""
    key = {"Idempotency-Key": f"the-same-key-{who}"}
    theirs = whole.ask("other patient", Ask("create", "POST", "Observation", _observation(OTHER), key))
    assert theirs.status == 201
    told = whole.ask("patient", Ask("create", "POST", "Observation", _observation(who), key | {"Prefer": "return=representation"}))
    assert "idempotency-replayed" not in told.headers
    assert (told.status, secret(OTHER) in told.body.decode()) == (status, False)


@pytest.mark.parametrize(
    "search", ["Observation?_count=1", "Patient?_count=1&_revinclude=Observation:subject", "_history?_count=1"]
)
def test_page_link_of_another_caller_leads_nowhere_new(search: str, whole: World) -> None:
    """Who follows the page link of somebody else's search gets nothing that an own search would not give."""
    path: str | None = next_link(whole.get("everything", search))
    assert path is not None
    for _ in range(5):
        if path is None:
            break
        told = whole.get("patient", path)
        assert told.status in (200, 400, 403)
        assert secret(OTHER) not in told.body.decode()
        path = next_link(told)
