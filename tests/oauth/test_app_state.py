"""State that apps keep (https://hl7.org/fhir/smart-app-launch/STU2.2/app-state.html)."""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

import httpx
import pytest
from api.conftest import problem
from oauth.world import USERS, OAuth, by_user
from typer.testing import CliRunner

from fhir_server.cli.application import application
from smart_auth.app_state import endpoints
from smart_auth.clients import Client

FHIR = {"Content-Type": "application/fhir+json"}
CODE = {"system": "https://app.example", "code": "preferences"}
LARGEST = 262_144


def document(**more: Any) -> dict[str, Any]:
    extension = [{"url": "https://app.example/v1", "valueString": '{"theme":"dark"}'}]
    return {"resourceType": "Basic", "code": {"coding": [CODE]}, "extension": extension} | more


def ask(oauth: OAuth, method: str, path: str = "Basic", body: Any = None, caller: str = "keeper", **headers: str) -> httpx.Response:
    content = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return oauth.http.request(method, f"/app-state/{path}", content=content, headers={**FHIR, **oauth.bearer(caller), **named})


def kept(oauth: OAuth, **more: Any) -> dict[str, Any]:
    answer = ask(oauth, "POST", body=document(**more))
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def coded() -> dict[str, Any]:
    """A code that no other test uses."""
    return {"coding": [{"system": "https://app.example", "code": uuid4().hex}]}


def test_where_it_is(oauth: OAuth) -> None:
    """[J4] Discovery names the endpoint as an associated one."""
    found = oauth.http.get("/fhir/.well-known/smart-configuration").json()["associated_endpoints"]
    assert found == [{"url": f"{oauth.root}/app-state", "capabilities": ["smart-app-state"]}]


def test_kept_and_found(oauth: OAuth) -> None:
    """[J4] A document is kept as it was sent, with an id and a version, and found by code and subject."""
    code = coded()
    sent = document(code=code, subject={"reference": f"{oauth.root}/fhir/Practitioner/doc"})
    answer = ask(oauth, "POST", body=sent)
    assert answer.status_code == 201
    made = answer.json()
    assert {name: value for name, value in made.items() if name not in ("id", "meta")} == sent
    assert answer.headers["etag"] == 'W/"1"' and made["meta"]["versionId"] == "1"
    assert answer.headers["location"] == f"{oauth.root}/app-state/Basic/{made['id']}"
    assert answer.headers["content-type"] == "application/fhir+json"
    named = f"{code['coding'][0]['system']}|{code['coding'][0]['code']}"
    query = {"code": named, "subject": f"{oauth.root}/fhir/Practitioner/doc"}
    found = oauth.http.get("/app-state/Basic", params=query, headers=oauth.bearer("keeper")).json()
    assert found["resourceType"] == "Bundle" and found["type"] == "searchset"
    assert [entry["resource"] for entry in found["entry"]] == [made]
    for other in ({"code": named + "x"}, {"code": named, "subject": "Patient/anna"}, {"code": named, "subject:missing": "true"}):
        assert oauth.http.get("/app-state/Basic", params=other, headers=oauth.bearer("keeper")).json()["total"] == 0


def test_about_nobody(oauth: OAuth) -> None:
    """[J4] State without a subject is found by subject:missing=true."""
    made = kept(oauth, code=coded())
    query = {"code": f"https://app.example|{made['code']['coding'][0]['code']}", "subject:missing": "true"}
    found = oauth.http.get("/app-state/Basic", params=query, headers=oauth.bearer("keeper")).json()
    assert [entry["resource"] for entry in found["entry"]] == [made]


def test_changed(oauth: OAuth) -> None:
    """[J4] A change needs If-Match with the current version; the next version is told."""
    made = kept(oauth)
    path = f"Basic/{made['id']}"
    changed = document(id=made["id"], extension=[{"url": "https://app.example/v1", "valueString": "light"}])
    assert ask(oauth, "PUT", path, changed).status_code == 428
    answer = ask(oauth, "PUT", path, changed, If_Match='W/"1"')
    assert answer.status_code == 200
    assert answer.headers["etag"] == 'W/"2"' and answer.json()["meta"]["versionId"] == "2"
    for stale in ('W/"1"', 'W/"3"', '"x"', "*", ""):
        assert ask(oauth, "PUT", path, changed, If_Match=stale).status_code == 412
    read = ask(oauth, "GET", path)
    assert read.json() == answer.json() and read.headers["etag"] == 'W/"2"'


def test_one_of_many_changes_at_once(oauth: OAuth) -> None:
    """[J4] Of several changes to one version at the same moment one is made."""
    made = kept(oauth)
    body = document(id=made["id"])
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: ask(oauth, "PUT", f"Basic/{made['id']}", body, If_Match='W/"1"'), range(6)))
    assert sorted(answer.status_code for answer in answers) == [200] + [412] * 5


def test_code_and_subject_stay(oauth: OAuth) -> None:
    """[J4] 412 for a change of what the document is about."""
    made = kept(oauth)
    for change in ({"code": coded()}, {"subject": {"reference": "Patient/anna"}}):
        answer = ask(oauth, "PUT", f"Basic/{made['id']}", document(id=made["id"], **change), If_Match='W/"1"')
        assert answer.status_code == 412
    assert ask(oauth, "PUT", f"Basic/{made['id']}", document(id="other"), If_Match='W/"1"').status_code == 400


def test_deleted(oauth: OAuth) -> None:
    """[J4] With If-Match; afterwards it is there no more, and changes fail as preconditions do."""
    made = kept(oauth)
    path = f"Basic/{made['id']}"
    assert ask(oauth, "DELETE", path).status_code == 428
    assert ask(oauth, "DELETE", path, If_Match='W/"2"').status_code == 412
    assert ask(oauth, "DELETE", path, If_Match='W/"1"').status_code == 204
    assert ask(oauth, "GET", path).status_code == 404
    assert ask(oauth, "DELETE", path, If_Match='W/"1"').status_code == 412
    assert ask(oauth, "PUT", path, document(id=made["id"]), If_Match='W/"1"').status_code == 412


BAD: dict[str, tuple[Any, int]] = {
    "no JSON": (b"x", 400),
    "deep": (b'{"extension": ' + b"[" * 5_000, 422),
    "another type": ({"resourceType": "Patient"}, 422),
    "an id": (document(id="mine"), 400),
    "a version": (document(meta={"versionId": "1"}), 400),
    "no code": ({"resourceType": "Basic"}, 422),
    "a code without coding": (document(code={"text": "x"}), 422),
    "two codings": (document(code={"coding": [CODE, CODE]}), 422),
    "no system": (document(code={"coding": [{"code": "x"}]}), 422),
    "two subjects": (document(subject=[{"reference": "Patient/anna"}, {"reference": "Practitioner/doc"}]), 422),
    "an extension of another type": (document(extension=[{"url": "x", "valueInteger": 1}]), 422),
    "an extension within one": (document(extension=[{"url": "x", "extension": []}]), 422),
    "an author": (document(author={"reference": "Practitioner/doc"}), 422),
    "somebody else": (document(subject={"reference": "Practitioner/other"}), 403),
    "another patient": (document(subject={"reference": "Patient/bert"}), 403),
    "somebody elsewhere": (document(subject={"reference": "https://other.example/fhir/Patient/anna"}), 403),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_not_kept(oauth: OAuth, name: str) -> None:
    """[J4] One code.coding, at most one subject (the user, or the patient of the context), text in extensions; else an OperationOutcome."""
    body, status = BAD[name]
    answer = ask(oauth, "POST", body=body)
    assert answer.status_code == status, answer.text
    assert problem(answer)


@pytest.mark.parametrize("size, status", [(LARGEST, 201), (LARGEST + 1, 413)])
def test_how_large_it_may_be(oauth: OAuth, size: int, status: int) -> None:
    """[J4] 256 KB, and not a byte more."""
    empty = len(json.dumps(document(extension=[{"url": "x", "valueString": ""}])))
    body = json.dumps(document(extension=[{"url": "x", "valueString": "x" * (size - empty)}])).encode()
    assert len(body) == size
    assert ask(oauth, "POST", body=body).status_code == status


@pytest.mark.parametrize("other", ["other keeper", "keeper for anna"])
def test_each_sees_their_own(oauth: OAuth, other: str) -> None:
    """[J4] Another app of the user, and another user of the app, see nothing of it and change nothing."""
    made = kept(oauth, subject={"reference": "Patient/anna"})
    path = f"Basic/{made['id']}"
    assert ask(oauth, "GET", path, caller=other).status_code == 404
    assert made["id"] not in ask(oauth, "GET", caller=other).text
    assert ask(oauth, "PUT", path, made, other, If_Match='W/"1"').status_code == 412
    assert ask(oauth, "DELETE", path, caller=other, If_Match='W/"1"').status_code == 412
    assert ask(oauth, "GET", path).status_code == 200
    assert oauth.http.get(f"/fhir/Basic/{made['id']}", headers=oauth.bearer("everything")).status_code == 404


@pytest.mark.parametrize("caller, status", [("nonsense", 401), ("doc", 403), ("everything", 403), ("chief", 403)])
def test_who_may_not(oauth: OAuth, caller: str, status: int) -> None:
    """[J4] A token of a user with the scope smart/app-state, or an OperationOutcome with 401 or 403."""
    for method, path in (("GET", "Basic"), ("POST", "Basic"), ("GET", "Basic/1"), ("DELETE", "Basic/1")):
        answer = ask(oauth, method, path, document() if method == "POST" else None, caller)
        assert answer.status_code == status
        assert problem(answer)
        assert answer.headers["www-authenticate"].startswith("Bearer ")


def test_no_more_than_so_many(oauth: OAuth, monkeypatch: pytest.MonkeyPatch) -> None:
    """[J4] The number of documents is limited."""
    monkeypatch.setattr(endpoints, "MOST", 1)
    kept_one = ask(oauth, "POST", body=document(), caller="other keeper")
    assert kept_one.status_code == 201
    assert ask(oauth, "POST", body=document(), caller="other keeper").status_code == 422


@pytest.mark.usefixtures("slow")
def test_no_more_than_so_many_at_once(oauth: OAuth, monkeypatch: pytest.MonkeyPatch) -> None:
    """[J4] Nor by sending them at the same moment: of twelve, three are kept; whoever deletes one may keep another."""
    monkeypatch.setattr(endpoints, "MOST", 3)
    token = oauth.issued(by_user(USERS[2], "smart/app-state", "public"))
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda _: ask(oauth, "POST", body=document(), caller=token), range(12)))
    assert sorted(answer.status_code for answer in answers) == [201] * 3 + [422] * 9
    made = next(answer.json() for answer in answers if answer.status_code == 201)
    assert ask(oauth, "DELETE", f"Basic/{made['id']}", caller=token, If_Match='W/"1"').status_code == 204
    assert [ask(oauth, "POST", body=document(), caller=token).status_code for _ in range(2)] == [201, 422]


def test_it_ends_with_the_app(oauth: OAuth, monkeypatch: pytest.MonkeyPatch) -> None:
    """[J4] What an app has kept is forgotten where the app is removed."""
    client = Client("passing", "Passing app", "public", "smart/app-state", "none", ("https://app.example/back",))
    oauth.stored(client)
    token = oauth.issued(by_user(USERS[1], "smart/app-state", "passing"))
    made = ask(oauth, "POST", body=document(), caller=token).json()
    assert ask(oauth, "GET", f"Basic/{made['id']}", caller=token).status_code == 200
    monkeypatch.setenv("FHIR_DATA_DIR", str(oauth.settings.data_dir))
    assert CliRunner().invoke(application, ["client", "remove", "passing"]).exit_code == 0
    oauth.stored(client)
    token = oauth.issued(by_user(USERS[1], "smart/app-state", "passing"))
    assert ask(oauth, "GET", f"Basic/{made['id']}", caller=token).status_code == 404


@pytest.mark.parametrize("id", ["1", "%00", "x" * 500, "..%2F..%2Fx", "%27%20OR%201=1", "%F0%9F%98%80"])
def test_ids_that_are_none(oauth: OAuth, id: str) -> None:
    """[J4] An id that was never given is 404 to a read."""
    assert ask(oauth, "GET", f"Basic/{id}").status_code == 404
    assert ask(oauth, "DELETE", f"Basic/{id}", If_Match='W/"1"').status_code in (404, 412)


def test_other_searches(oauth: OAuth) -> None:
    """[J4] What is not supported is refused, not left out."""
    assert ask(oauth, "GET", "Basic?_count=1").status_code == 400
    assert ask(oauth, "GET", "Basic?subject:missing=perhaps").status_code == 400


def test_from_a_script(oauth: OAuth) -> None:
    """[J4] Scripts of any site may do all of it, and see the ETag."""
    asked = {
        "Origin": "https://app.example",
        "Access-Control-Request-Method": "PUT",
        "Access-Control-Request-Headers": "authorization,if-match",
    }
    allowed = oauth.http.options("/app-state/Basic/1", headers=asked)
    assert allowed.status_code == 200 and "PUT" in allowed.headers["access-control-allow-methods"]
    answer = ask(oauth, "GET", Origin="https://app.example")
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "etag" in answer.headers["access-control-expose-headers"].lower()


def test_the_event(oauth: OAuth) -> None:
    """What apps keep and look at is recorded by its code, without its content."""
    code = coded()
    made = kept(oauth, code=code, extension=[{"url": "x", "valueString": "a secret of the app"}])
    name = f"{code['coding'][0]['system']}|{code['coding'][0]['code']}"
    assert ask(oauth, "GET", f"Basic/{made['id']}").status_code == 200
    assert ask(oauth, "GET", f"Basic?{urlencode({'code': name})}").json()["total"] == 1
    found = oauth.http.get("/fhir/AuditEvent?_sort=-_lastUpdated&_count=20", headers=oauth.bearer("chief")).text
    assert all(f"{what} state of its own ({name})" in found for what in ("kept", "read", "searched"))
    assert "a secret of the app" not in found
