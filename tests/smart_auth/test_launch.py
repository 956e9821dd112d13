"""Standalone and EHR launch from the first request to the data, for all kinds of client (SMART App Launch 2.2, and 1.0)."""

import httpx
import pytest
from walking import EHR, KINDS, STANDALONE, App, Smart, answered


@pytest.mark.parametrize("kind", KINDS)
def test_a_standalone_launch(smart: Smart, kind: str) -> None:
    """[B2, B4, C1, C2, C3, C4, C7, C8, C11, C14] Each kind of client gets tokens for the patient whom the user chose, and reads with them."""
    app = App(smart.root, kind)
    answer = app.exchange(smart.code(app))
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert (body["token_type"], body["expires_in"], body["patient"]) == ("Bearer", 3600, "anna")
    assert body["scope"].split(" ") == [*STANDALONE.split(" ")[:4], "patient/Patient.rs", "patient/Observation.rs"]
    assert body["id_token"] and body["refresh_token"] and body["access_token"]
    assert "no-store" in answer.headers["cache-control"] and "no-cache" in answer.headers["pragma"]
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["access-control-allow-origin"] in ("*", "https://app.example")
    read = smart.read("Patient/anna", body["access_token"])
    assert (read.status_code, read.json()["id"]) == (200, "anna")
    assert smart.read("Patient/bert", body["access_token"]).status_code in (403, 404)
