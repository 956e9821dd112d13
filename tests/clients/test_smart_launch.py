"""Launches by clients that others have written: SMART's fhirclient for Python, and fhir-kit-client for Node.js with a token."""

import os
import subprocess
from collections.abc import Iterator

import pytest
from clients.test_node import FOLDER, MISSING, install, old_or_missing
from fhirclient import client as smart_client
from fhirclient.models.condition import Condition
from fhirclient.models.observation import Observation
from fhirclient.models.patient import Patient
from fhirclient.server import FHIRNotFoundException, FHIRPermissionDeniedException, FHIRUnauthorizedException
from granting import BACK, Form
from walking import EHR, SECRET, STANDALONE, App, Smart, walking


@pytest.fixture(scope="module")
def launched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Smart]:
    """A server with users, apps and two patients."""
    with walking(tmp_path_factory.mktemp("launched")) as made:
        yield made


def started(launched: Smart, user: str = "doc", **settings: str) -> smart_client.FHIRClient:
    """The client, after its user has signed in, chosen the patient and allowed all."""
    chosen = {"app_id": "walk-public", "redirect_uri": BACK, "scope": STANDALONE} | settings
    client = smart_client.FHIRClient(settings={"api_base": launched.base, **chosen})
    client.prepare()
    browser = launched.browser(user)
    page = browser.follow(browser.http.get(client.authorize_url))
    if any(name == "patient" for name, _ in Form(page).buttons):
        page = browser.choose(page, patient="anna")
    client.handle_callback(browser.decide(page).headers["location"])
    return client


def test_fhirclient_launches_by_itself(launched: Smart) -> None:
    """[B2, C1, E1] fhirclient finds the addresses, launches, reads the patient it was given, and refreshes its token."""
    client = started(launched)
    assert client.ready
    assert client.patient is not None
    assert client.patient.id == "anna"
    found = Observation.where({"patient": "anna"}).perform_resources_iter(client.server)
    assert {each.id for each in found} == {"lab", "pulse"}
    assert client.reauthorize()
    assert Patient.read("anna", client.server).id == "anna"


def test_fhirclient_with_a_secret_launches_from_an_ehr(launched: Smart) -> None:
    """[B5, C2] The patient that the EHR named is the client's patient; there is nothing to choose."""
    handle = launched.launch(App(launched.root, "confidential"), patient="bert")
    client = started(launched, app_id="walk-confidential", app_secret=SECRET, scope=EHR, launch_token=handle)
    assert client.patient is not None
    assert client.patient.id == "bert"


def test_fhirclient_is_told_what_it_may_not_do(launched: Smart) -> None:
    """[C18] Another patient is not there for it, a type without scope is refused, a token that has ended is 401."""
    client = started(launched)
    with pytest.raises(FHIRPermissionDeniedException):
        Condition.read("any", client.server)
    with pytest.raises(FHIRNotFoundException):
        Patient.read("bert", client.server)
    assert client.server.auth is not None
    client.server.auth.access_token = "ended"
    with pytest.raises(FHIRUnauthorizedException):
        Patient.read("anna", client.server)


@pytest.mark.skipif("CI" not in os.environ and old_or_missing(), reason=MISSING)
def test_fhir_kit_client_with_a_token(launched: Smart) -> None:
    """fhir-kit-client finds the addresses of sign-in, reads with its token, and is told what it may not read."""
    install()
    token = launched.tokens(App(launched.root))["access_token"]
    command = ["node", "smart.mjs", launched.base, launched.root, token]
    done = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
