"""grant_type=client_credentials: tokens for services that act for themselves
(https://hl7.org/fhir/smart-app-launch/STU2.2/backend-services.html)."""

from collections.abc import Mapping
from typing import Final

from resources.store import Conflict, RecordChange
from smart_auth.access import Access
from smart_auth.clients import Client, find_client
from smart_auth.errors import OAuthError, invalid_client, invalid_scope
from smart_auth.happenings import Happening
from smart_auth.scopes import Scopes
from smart_auth.server.asked_scopes import sort_scopes
from smart_auth.server.assertions import REPLAYED
from smart_auth.server.client_authentication import Proof
from smart_auth.service import Service
from smart_auth.tokens import issue
from smart_auth.web import WebResponse, as_json

OWN_WORDS: Final = ("smart/orchestrate_launch",)
"""Words that a service may ask for beside system/ scopes."""


async def client_credentials(service: Service, proof: Proof, form: Mapping[str, str], address: str) -> WebResponse:
    """The token response; never with a refresh token. The client's assertion is used up in the same commit.

    Whoever disables or changes a client ends its tokens after that. A token that is issued at the same moment either is there by then, or
    is taken back here, because the client is looked at again once the token is stored. (With a precondition on the client's record all
    of its requests would collide with each other.)

    Raises OAuthError: unauthorized_client, invalid_scope, invalid_client where the assertion was used or the client changed meanwhile;
    StoreUnavailable.
    """
    client = proof.client
    if client.type != "backend":
        raise OAuthError("unauthorized_client", "this client acts for users: it is not registered as a backend service")
    granted = grantable(service, client, form.get("scope", ""))
    now, seconds = service.clock(), service.settings.backend_token_ttl
    expires = now + seconds * 1_000_000
    access = Access(client.id, client.id, granted.text, expires, now, client_name=client.name, deidentified=client.deidentified)
    token, stored = issue(access)
    try:
        await service.commit(*proof.records, stored, happening=_happening(access, address))
    except Conflict:
        raise invalid_client(REPLAYED) from None
    if await find_client(service.store, client.id) != client:
        await service.commit(RecordChange(stored.kind, stored.key, None), happening=_taken_back(access, address))
        raise invalid_client("the client was changed at this moment")
    return as_json({"access_token": token, "token_type": "Bearer", "expires_in": seconds, "scope": granted.text})


def grantable(service: Service, client: Client, asked: str) -> Scopes:
    """What the client gets of the scopes that it asks for: those of its own level, for types and search parameters that there are, as far
    as it is registered for them. What else it asks for is left out. Raises OAuthError invalid_scope where nothing is left."""
    if not asked.strip():
        raise invalid_scope("scope is missing: name what the token is for, such as system/Patient.rs")
    return sort_scopes(service, client, asked, _word).possible


def _word(word: str) -> str:
    return "" if word in OWN_WORDS else "it is for apps with a user"


def _taken_back(access: Access, address: str) -> Happening:
    text = f"the token was taken back, because {access.client_name} was changed as it was issued"
    return Happening("revoke", text, "4", access.client, access.client, address, (f"client/{access.client}",))


def _happening(access: Access, address: str) -> Happening:
    return Happening(
        "token",
        f"a token was issued to the service {access.client_name}: {access.scopes}",
        subject=access.client,
        client=access.client,
        address=address,
        about=(f"client/{access.client}",),
    )
