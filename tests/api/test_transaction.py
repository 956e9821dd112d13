"""transaction (https://hl7.org/fhir/R4/http.html#transaction): all entries or none."""

import asyncio
import json
from collections.abc import Iterator

import httpx
import pytest
from api.conftest import Running
from api.making import (
    FHIR,
    Json,
    bundle,
    count,
    entry,
    locations,
    observation,
    patient,
    post,
    put,
    send,
    statuses,
    texts,
    unique,
    urn,
)


def practitioner(value: str) -> Json:
    return patient(value, resourceType="Practitioner")


def test_answers_stand_where_requests_stood(api: httpx.Client) -> None:
    """DELETE, POST, PUT, GET are carried out in this order; the response has the order of the request."""
    value, id = unique(), unique()
    old = post(api, patient(value)).json()["id"]
    answer = send(
        api,
        bundle(
            "transaction",
            entry("GET", f"Patient?identifier={value}"),
            entry("PUT", f"Patient/{id}", patient(value, id=id)),
            entry("HEAD", f"Patient/{id}"),
            entry("POST", "Patient", patient(value), ifNoneExist=f"identifier={value}"),
            entry("DELETE", f"Patient/{old}"),
        ),
    )
    assert answer.json()["type"] == "transaction-response"
    assert statuses(answer) == ["200", "201", "200", "201", "204"]
    entries = answer.json()["entry"]
    assert entries[0]["resource"]["total"] == 2
    assert "resource" not in entries[2]
    assert api.get(f"Patient/{old}").status_code == 410


def test_what_a_response_says(api: httpx.Client) -> None:
    """Status, location, etag and lastModified; one instant for the whole; content only if preferred."""
    id = unique()
    body = bundle("transaction", entry("POST", "Patient", patient()), entry("PUT", f"Patient/{id}", patient(id=id)))
    plain = send(api, body).json()["entry"]
    assert [set(item) for item in plain] == [{"response"}, {"response"}]
    assert plain[1]["response"]["location"] == f"Patient/{id}/_history/1"
    assert plain[1]["response"]["etag"] == 'W/"1"'
    assert plain[0]["response"]["lastModified"] == plain[1]["response"]["lastModified"]
    full = send(api, body, Prefer="return=representation")
    assert statuses(full) == ["201", "200"]
    assert full.json()["entry"][1]["resource"]["meta"]["versionId"] == "2"
    told = send(api, body, Prefer="return=OperationOutcome").json()["entry"]
    assert all(item["response"]["outcome"]["resourceType"] == "OperationOutcome" for item in told)


def test_links_between_entries(api: httpx.Client) -> None:
    """References to fullUrls, before and after the entry they mean, become references to the new resources."""
    subject, other, remote = urn(), "urn:oid:1.2.36.146.595.217.0.1", f"http://elsewhere.example.org/fhir/Organization/{unique()}"
    first = observation(subject, performer=[{"reference": other}, {"reference": remote}, {"reference": f"{subject}/_history/4"}])
    first["text"] = {"status": "generated", "div": f'<div xmlns="http://www.w3.org/1999/xhtml"><a href="{subject}">p</a></div>'}
    first["identifier"] = [{"system": "urn:ietf:rfc:3986", "value": subject}]
    answer = send(
        api,
        bundle(
            "transaction",
            entry("POST", "Observation", first),
            entry("POST", "Patient", patient(), subject),
            entry("POST", "Practitioner", practitioner(unique()), other),
            entry("POST", "Organization", patient(resourceType="Organization", name="o"), remote),
        ),
    )
    assert statuses(answer) == ["201"] * 4
    at = locations(answer)
    stored = api.get(at[0]).json()
    assert stored["subject"]["reference"] == at[1]
    assert [p["reference"] for p in stored["performer"]] == [at[2], at[3], f"{at[1]}/_history/1"]
    assert f'<a href="{at[1]}">' in stored["text"]["div"]
    assert stored["identifier"][0]["value"] == subject
    assert api.get("Observation", params={"subject": at[1]}).json()["total"] == 1


def test_links_to_what_is_found(api: httpx.Client) -> None:
    """A conditional create or update that finds its resource gives its links that resource's address."""
    value, other = unique(), unique()
    there, also = (post(api, patient(v)).json()["id"] for v in (value, other))
    one, two = urn(), urn()
    answer = send(
        api,
        bundle(
            "transaction",
            entry("POST", "Patient", patient(value), one, ifNoneExist=f"identifier={value}"),
            entry("PUT", f"Patient?identifier={other}", patient(other, active=True), two),
            entry("POST", "Observation", observation(one)),
            entry("POST", "Observation", observation(two)),
        ),
    )
    assert statuses(answer) == ["200", "200", "201", "201"]
    at = locations(answer)
    assert at[:2] == [f"Patient/{there}", f"Patient/{also}"]
    assert [api.get(place).json()["subject"]["reference"] for place in at[2:]] == at[:2]


def test_a_reference_to_no_entry(api: httpx.Client) -> None:
    """A urn that no entry has would dangle for ever; it is refused with its place."""
    answer = send(api, bundle("transaction", entry("POST", "Patient", patient()), entry("POST", "Observation", observation(urn()))))
    assert answer.status_code == 400
    assert texts(answer)[0][0].startswith("Bundle.entry[1].resource")


def test_references_by_criteria(api: httpx.Client) -> None:
    """They are resolved among the entries of the transaction first, then by search."""
    stored_value, new_value = unique(), unique()
    there = post(api, practitioner(stored_value)).json()["id"]
    by = [{"reference": f"Practitioner?identifier={v}"} for v in (stored_value, new_value)]
    answer = send(
        api,
        bundle(
            "transaction",
            entry("POST", "Observation", observation(f"Patient?identifier={new_value}", performer=by)),
            entry("POST", "Practitioner", practitioner(new_value)),
            entry("PUT", "Patient/by-criteria", patient(new_value, id="by-criteria")),
        ),
    )
    assert statuses(answer)[:2] == ["201", "201"]
    at = locations(answer)
    stored = api.get(at[0]).json()
    assert [p["reference"] for p in stored["performer"]] == [f"Practitioner/{there}", at[1]]
    assert stored["subject"]["reference"] == "Patient/by-criteria"


def test_references_by_criteria_that_fail(api: httpx.Client) -> None:
    """None, several, and criteria that are no search: each is told of with its entry and element, and nothing is written."""
    twice, new = unique(), unique()
    for _ in range(2):
        post(api, practitioner(twice))
    by = [{"reference": f"Practitioner?{c}"} for c in (f"identifier={unique()}", f"identifier={twice}", "nonsense=1")]
    answer = send(
        api,
        bundle(
            "transaction",
            entry("POST", "Patient", patient(new)),
            entry("POST", "Observation", observation("Patient/1", performer=by)),
        ),
    )
    assert answer.status_code == 412
    assert [place for place, _ in texts(answer)] == [f"Bundle.entry[1].resource.performer[{n}].reference" for n in range(3)]
    assert count(api, "Patient", new) == 0


def test_criteria_that_name_an_entry(api: httpx.Client) -> None:
    """Criteria may speak of another entry by its fullUrl."""
    value, name = unique(), urn()
    made = bundle(
        "transaction",
        entry("POST", "Observation", observation(name), ifNoneExist=f"subject={name}&status=final"),
        entry("POST", "Patient", patient(value), name, ifNoneExist=f"identifier={value}"),
    )
    first = send(api, made)
    assert statuses(first) == ["201", "201"]
    second = send(api, made)
    assert statuses(second) == ["200", "200"]
    assert locations(second) == locations(first)


def test_the_last_entry_fails(api: httpx.Client) -> None:
    """Nothing of the others is written, no matter how many they are."""
    value = unique()
    good = [entry("POST", "Patient", patient(value)) for _ in range(100)]
    answer = send(api, bundle("transaction", *good, entry("POST", "Patient", patient(value, gender="x"))))
    assert answer.status_code == 422
    assert texts(answer)[0][0] == "Bundle.entry[100].resource.gender"
    assert count(api, "Patient", value) == 0


def test_every_problem_is_told_at_once(api: httpx.Client) -> None:
    """Entries that are wrong in different ways are all named, in their order."""
    answer = send(
        api,
        bundle(
            "transaction",
            entry("POST", "Patient", patient(gender="x")),
            entry("PATCH", f"Patient/{unique()}", {"resourceType": "Parameters"}),
            entry("POST", "Nonsense", patient()),
            entry("POST", "Patient", patient(), ifNoneExist="nonsense=1"),
            entry("POST", "Observation", observation(f"Patient?identifier={unique()}")),
            entry("POST", "Patient", {"resourceType": "Patient", "foo": 1}),
            entry("PUT", "Patient/a", patient()),
            entry("PUT", "Patient/a", patient(id="b")),
            entry("POST", "Patient", {"resourceType": "Practitioner"}),
            entry("POST", "Patient"),
            {"resource": patient()},
            entry("POST", "Patient/$validate", patient()),
            entry("DELETE", "Patient"),
        ),
    )
    assert answer.status_code == 422
    places = [place for place, _ in texts(answer)]
    assert [place.split("]")[0] + "]" for place in places] == [f"Bundle.entry[{n}]" for n in range(13)], texts(answer)


@pytest.mark.parametrize(
    ("conditions", "status"),
    [
        ({"ifMatch": 'W/"1"'}, 200),
        ({"ifMatch": 'W/"2"'}, 412),
        ({"ifNoneMatch": "*"}, 412),
        ({"ifMatch": "nonsense"}, 400),
        ({}, 200),
    ],
)
@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_versions(api: httpx.Client, method: str, conditions: dict[str, str], status: int) -> None:
    """ifMatch and ifNoneMatch hold for their entry and refuse the whole."""
    if method == "DELETE" and "ifNoneMatch" in conditions:
        return
    id, value = unique(), unique()
    put(api, f"Patient/{id}", patient(id=id))
    resource = patient(id=id) if method == "PUT" else None
    answer = send(
        api, bundle("transaction", entry("POST", "Patient", patient(value)), entry(method, f"Patient/{id}", resource, **conditions))
    )
    assert answer.status_code == status, answer.text
    assert count(api, "Patient", value) == (1 if status == 200 else 0)
    if status != 200:
        assert texts(answer)[0][0].startswith("Bundle.entry[1].request")


def overlaps(id: str, value: str) -> dict[str, tuple[Json, Json]]:
    """Pairs of entries that change one resource, `Patient/id` with the identifier `value`."""
    patch = {"resourceType": "Parameters"}
    update = entry("PUT", f"Patient/{id}", patient(value, id=id))
    return {
        "two updates": (update, update),
        "update and delete": (update, entry("DELETE", f"Patient/{id}")),
        "update and patch": (update, entry("PATCH", f"Patient/{id}", patch)),
        "update by id and by criteria": (update, entry("PUT", f"Patient?identifier={value}", patient(value))),
        "patch by id and by criteria": (
            entry("PATCH", f"Patient/{id}", patch),
            entry("PATCH", f"Patient?identifier={value}", patch),
        ),
        "delete by id and by criteria": (entry("DELETE", f"Patient/{id}"), entry("DELETE", f"Patient/{id}")),
    }


@pytest.mark.parametrize("name", list(overlaps("", "")))
def test_one_resource_in_two_entries(api: httpx.Client, name: str) -> None:
    """400 naming both entries; nothing is written."""
    id, value = unique(), unique()
    put(api, f"Patient/{id}", patient(value, id=id))
    first, second = overlaps(id, value)[name]
    answer = send(api, bundle("transaction", first, entry("GET", "metadata"), second))
    assert answer.status_code == 400, answer.text
    place, text = texts(answer)[0]
    assert place == "Bundle.entry[2].request"
    assert f"Patient/{id} stands in entries 0 and 2" in text
    assert api.get(f"Patient/{id}").json()["meta"]["versionId"] == "1"


def test_one_full_url_twice(api: httpx.Client) -> None:
    """400 naming both entries: a link could mean either."""
    name = urn()
    answer = send(api, bundle("transaction", entry("POST", "Patient", patient(), name), entry("POST", "Patient", patient(), name)))
    assert answer.status_code == 400
    assert texts(answer)[0][0] == "Bundle.entry[1].fullUrl"


def test_twins_make_one(api: httpx.Client) -> None:
    """Two conditional creates with the same criteria make one resource; links to either mean it."""
    value, one, two = unique(), urn(), urn()
    answer = send(
        api,
        bundle(
            "transaction",
            entry("POST", "Patient", patient(value), one, ifNoneExist=f"identifier={value}"),
            entry("POST", "Patient", patient(value), two, ifNoneExist=f"identifier={value}"),
            entry("POST", "Observation", observation(two)),
        ),
    )
    assert statuses(answer) == ["201", "200", "201"]
    at = locations(answer)
    assert at[0] == at[1] == api.get(at[2]).json()["subject"]["reference"]
    assert count(api, "Patient", value) == 1


@pytest.mark.parametrize("methods", [("PUT", "PUT"), ("POST", "PUT"), ("PUT", "POST")])
def test_two_entries_that_would_make_the_same(api: httpx.Client, methods: tuple[str, str]) -> None:
    """Entries with the same criteria, however spelled, never make two resources: 400 naming both."""
    value = unique()
    spelled = (f"identifier={value}&active=true", f"active=true&identifier={value}")
    made = [
        entry(method, "Patient", patient(value, active=True), ifNoneExist=criteria)
        if method == "POST"
        else entry(method, f"Patient?{criteria}", patient(value, active=True))
        for method, criteria in zip(methods, spelled, strict=True)
    ]
    answer = send(api, bundle("transaction", *made))
    assert answer.status_code == 400
    assert "0" in texts(answer)[0][1] and "1" in texts(answer)[0][1]
    assert count(api, "Patient", value) == 0


def test_if_match_any(api: httpx.Client) -> None:
    """`ifMatch: *` updates what is there and refuses to make it."""
    id, value = unique(), unique()
    asked = bundle("transaction", entry("PUT", f"Patient/{id}", patient(value, id=id), ifMatch="*"))
    assert send(api, asked).status_code == 412
    put(api, f"Patient/{id}", patient(id=id))
    assert statuses(send(api, asked)) == ["200"]
    by_criteria = entry("PUT", f"Patient?identifier={unique()}", patient(), ifMatch="*")
    assert send(api, bundle("transaction", by_criteria)).status_code == 412


def test_nothing_to_delete(api: httpx.Client) -> None:
    """Deleting what is not there is no failure, by id or by criteria."""
    answer = send(
        api, bundle("transaction", entry("DELETE", f"Patient/{unique()}"), entry("DELETE", f"Patient?identifier={unique()}"))
    )
    assert statuses(answer) == ["204", "204"]


def test_reads_that_fail(api: httpx.Client) -> None:
    """A read of what is not there answers so in its entry; the writes are done."""
    value = unique()
    answer = send(api, bundle("transaction", entry("POST", "Patient", patient(value)), entry("GET", f"Patient/{unique()}")))
    assert statuses(answer) == ["201", "404"]
    assert answer.json()["entry"][1]["response"]["outcome"]["issue"][0]["expression"] == ["Bundle.entry[1].request.url"]


def test_an_empty_transaction(api: httpx.Client) -> None:
    """No entries, no entries."""
    answer = send(api, bundle("transaction"))
    assert (answer.status_code, answer.json()) == (200, {"resourceType": "Bundle", "type": "transaction-response"})


def test_an_audit_event_cannot_be_changed(api: httpx.Client) -> None:
    """The record of accesses only grows, in a transaction too."""
    answer = send(api, bundle("transaction", entry("DELETE", "AuditEvent/1")))
    assert answer.status_code == 405


def test_one_event_for_the_whole(api: httpx.Client) -> None:
    """The AuditEvent of a transaction names everything that it changed or found."""
    value = unique()
    there = post(api, patient(value)).json()["id"]
    answer = send(
        api,
        bundle(
            "transaction",
            entry("POST", "Patient", patient()),
            entry("POST", "Patient", patient(), ifNoneExist=f"identifier={value}"),
        ),
    )
    assert locations(answer)[1] == f"Patient/{there}"
    named: list[set[str]] = [set(), set()]
    for place, name in enumerate(locations(answer)):
        found = api.get("AuditEvent", params={"entity": name, "subtype": "transaction"}).json()["entry"]
        named[place] = {item["resource"]["id"] for item in found}
    assert len(named[0] & named[1]) == 1


@pytest.fixture(scope="module")
def roomy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server that takes large bodies, and 9,000 entries at most."""
    server = Running(tmp_path_factory.mktemp("roomy"), max_body=50_000_000, max_bundle_entries=9_000)
    server.start()
    yield server
    server.stop()


def large(entries: int) -> bytes:
    """A transaction of one Patient and Observations about it, about 1.9 kB each."""
    name = urn()
    note = [{"text": "x" * 1500}]
    made = [
        entry("POST", "Observation", observation(name, note=note, valueQuantity={"value": 1.5}), urn()) for _ in range(entries - 1)
    ]
    return json.dumps(bundle("transaction", entry("POST", "Patient", patient(), name), *made)).encode()


def test_nine_thousand_entries(roomy: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Bundle of 9,000 entries and 17 MB is one commit, and other requests are answered meanwhile."""
    monkeypatch.setattr("fhir_server.bundles.pace.PORTION", 0.0)  # a quick machine has few portions of its usual length

    async def measured() -> tuple[httpx.Response, int]:
        async with httpx.AsyncClient(base_url=f"{roomy.root}/fhir", timeout=120) as client:
            body = large(9_000)
            assert len(body) > 15_000_000
            sending = asyncio.create_task(client.post("", content=body, headers=FHIR))
            meanwhile = 0
            while not sending.done():
                assert (await client.get("/Patient/none")).status_code == 404
                meanwhile += 1
            return await sending, meanwhile

    answer, meanwhile = asyncio.run(measured())
    assert statuses(answer) == ["201"] * 9_000
    subject = locations(answer)[0]
    with httpx.Client(base_url=f"{roomy.root}/fhir/") as client:
        last = client.get(locations(answer)[-1]).json()
        assert last["subject"]["reference"] == subject
        assert client.get("Observation", params={"subject": subject, "_summary": "count"}).json()["total"] == 8_999
    assert meanwhile > 20


def test_more_entries_than_allowed(roomy: Running) -> None:
    """413 with both numbers."""
    body = bundle("transaction", *[entry("GET", "metadata")] * 9_001)
    with httpx.Client(base_url=f"{roomy.root}/fhir/") as client:
        answer = send(client, body)
    assert answer.status_code == 413
    assert "9001" in answer.text and "9000" in answer.text
