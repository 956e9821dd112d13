"""Calls of the authorization server by access tokens that are refused leave an AuditEvent each, as those of the FHIR interface do."""

from typing import Any

import pytest
from oauth.world import OAuth

BASIC = {"resourceType": "Basic", "code": {"coding": [{"system": "urn:of", "code": "refused"}]}}
ABOUT_ANOTHER = BASIC | {"subject": {"reference": "Patient/bert"}}
NOWHERE = f"/app-state/Basic/{'0' * 32}"

REFUSED = [
    ("POST", "/oauth/launch", "", {"json": {}}, 401),
    ("POST", "/oauth/launch", "no-such-token", {"json": {}}, 401),
    ("POST", "/oauth/launch", "anna", {"json": {"client_id": "public"}}, 403),
    ("GET", "/oauth/userinfo", "no-such-token", {}, 401),
    ("GET", "/oauth/userinfo", "everything", {}, 403),
    ("POST", "/oauth/introspect", "no-such-token", {"data": {"token": "x"}}, 401),
    ("POST", "/oauth/register", "chief", {"json": {}}, 403),
    ("GET", "/app-state/Basic", "no-such-token", {}, 401),
    ("GET", "/app-state/Basic", "anna", {}, 403),
    ("GET", NOWHERE, "keeper", {}, 404),
    ("POST", "/app-state/Basic", "keeper", {"json": ABOUT_ANOTHER}, 403),
    ("DELETE", NOWHERE, "keeper", {}, 428),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path", "token", "body", "status"), REFUSED)
def test_a_refused_call_is_recorded(
    oauth: OAuth, method: str, path: str, token: str, body: dict[str, Any], status: int
) -> None:  # fmt: skip
    """One event says where and why, and whose token it was; the token itself stands nowhere."""
    before = _newest(oauth)
    answer = oauth.http.request(method, path, headers=oauth.bearer(token) if token else {}, **body)
    assert answer.status_code == status
    event = _newest(oauth)
    assert event != before and event["outcome"] == "4"
    assert f"{method} {path} was refused" in event["outcomeDesc"] and "no-such-token" not in str(event)
    clients = [agent["who"]["identifier"]["value"] for agent in event["agent"][1:]]
    assert clients == (
        [] if status == 401 else [{"anna": "server", "everything": "loader", "chief": "server"}.get(token, "public")]
    )


def _newest(oauth: OAuth) -> dict[str, Any]:
    """The newest event of sign-in and administration, if there is one."""
    dicom = "http://dicom.nema.org/resources/ontology/DCM"
    url = f"/fhir/AuditEvent?type={dicom}|110114,{dicom}|110113&_sort=-_lastUpdated&_count=1"
    entries = oauth.http.get(url, headers=oauth.bearer("chief")).json().get("entry", [])
    return entries[0]["resource"] if entries else {}
