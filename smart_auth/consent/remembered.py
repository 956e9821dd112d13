"""When nobody needs to be asked: the operator trusts the app, or the user allowed it as much before."""

from urllib.parse import urlsplit

from smart_auth.clients import Client
from smart_auth.consent.context import Waiting
from smart_auth.narrowing import covered
from smart_auth.scopes import Scopes, parse_scopes
from smart_auth.server.authorizations import authorizations_of
from smart_auth.service import Service


async def skips(service: Service, client: Client, waits: Waiting) -> bool:
    """Whether the consent page may be left out. Never where the app asks for it (prompt=consent), nor where anybody could pose as the app:
    one without a secret or key that was not marked by the operator, or that has an address which other apps can take (RFC 8252, 8.6).
    Raises StoreUnavailable."""
    wanted = waits.grantable
    if "consent" in waits.pending.prompt or not (wanted.resources or wanted.words):
        return False
    if client.trusted and (client.type != "public" or urlsplit(waits.pending.redirect_uri).scheme == "https"):
        return True
    return service.settings.remember_consent and client.type == "confidential" and await _allowed_before(service, waits, wanted)


async def _allowed_before(service: Service, waits: Waiting, wanted: Scopes) -> bool:
    """Whether one standing consent of the user, for the same patient, has all of it."""
    for each in await authorizations_of(service, waits.user.name):
        if (
            each.client == waits.pending.client
            and each.patient == waits.pending.patient
            and covered(wanted, parse_scopes(each.scopes))
        ):
            return True
    return False
