"""Who a client is (RFC 6749, 2.3; RFC 7521, 4.2; https://hl7.org/fhir/smart-app-launch/STU2.2/client-confidential-asymmetric.html).

What a stranger learns is the same for an unknown client, a disabled one and a wrong secret, and so is the work.
"""

import re
from base64 import b64decode
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import unquote_plus

from resources.store import Conflict, RecordChange
from smart_auth.clients import Client, find_client, has_secret
from smart_auth.errors import OAuthError, invalid_client, invalid_request
from smart_auth.happenings import Happening
from smart_auth.server.assertions import REPLAYED, claimed_by, proved_by_assertion
from smart_auth.service import Service
from smart_auth.web import WebRequest

_LONGEST = 1_024
"""Characters of an id or a secret, however it is sent."""
_NAME = re.compile(r"[A-Za-z0-9._~ -]{1,128}", re.ASCII)
"""What of a claimed client_id is put into the audit."""
_WRONG = "the client is unknown, or what it proves itself by is wrong"


class Proof(NamedTuple):
    """Who the client is, and what has to be committed together with whatever it is given: a client assertion counts once.

    Such a record that is there already makes the commit raise Conflict("record") with its index.
    """

    client: Client
    records: tuple[RecordChange, ...] = ()


async def authenticate(service: Service, request: WebRequest, form: Mapping[str, str]) -> Client:
    """The client that sends this form (`form` is `request.single()`), its assertion used up.

    Raises OAuthError: invalid_client, or invalid_request where it proves itself in two ways; StoreUnavailable.
    """
    proof = await prove(service, request, form)
    if proof.records:
        try:
            await service.commit(*proof.records)
        except Conflict:
            raise invalid_client(REPLAYED) from None
    return proof.client


async def prove(service: Service, request: WebRequest, form: Mapping[str, str]) -> Proof:
    """Like `authenticate`, for callers that commit `Proof.records` themselves, with what they give out."""
    form = {name: value for name, value in form.items() if value}  # RFC 6749, 3.2: without a value is as if omitted
    try:
        return await _proof(service, request, form)
    except OAuthError as refusal:
        if refusal.error == "invalid_client":
            await request.stranger()
            await service.commit(happening=_refused(request, form, refusal))
        raise


def _refused(request: WebRequest, form: Mapping[str, str], refusal: OAuthError) -> Happening:
    """That somebody was not the client they said to be, for the audit."""
    pairs = _basic_pairs(request.headers.get("authorization", ""))
    claimed = claimed_by(form.get("client_assertion", "")) or form.get("client_id", "") or (pairs[0][0] if pairs else "")
    client = claimed if _NAME.fullmatch(claimed) else ""
    return Happening("token", f"a client was refused: {refusal.description}", "4", client=client, address=request.address)


async def _proof(service: Service, request: WebRequest, form: Mapping[str, str]) -> Proof:
    basic = request.headers.get("authorization")
    asserted = "client_assertion" in form or "client_assertion_type" in form
    if sum((basic is not None, asserted, "client_secret" in form)) > 1:
        raise invalid_request("the client proves itself in more than one way")
    if asserted:
        client, records = await proved_by_assertion(service, form)
        return Proof(client, records)
    if basic is not None:
        return Proof(await _by_basic(service, basic, form))
    return Proof(await _by_form(service, form))


async def _by_basic(service: Service, header: str, form: Mapping[str, str]) -> Client:
    pairs = _basic_pairs(header)
    if not pairs:
        raise invalid_client("the Authorization header is no HTTP Basic of client id and secret")
    if "client_id" in form and form["client_id"] not in {id for id, _ in pairs}:
        raise invalid_request("client_id is another one than in the Authorization header")
    for id, secret in pairs:
        client = await _with_secret(service, id, secret)
        if client is not None:
            return client
    raise invalid_client(_WRONG)


def _basic_pairs(header: str) -> list[tuple[str, str]]:
    """Id and secret as they are and, where that is different, percent-decoded: RFC 6749 (2.3.1) encodes them, many clients do not."""
    scheme, _, encoded = header.partition(" ")
    try:
        text = b64decode(encoded.strip(), validate=True).decode()
    except ValueError:  # what is no base64, and what is no UTF-8
        return []
    id, colon, secret = text.partition(":")
    if scheme.lower() != "basic" or not colon or not id or len(text) > _LONGEST:
        return []
    try:
        decoded = unquote_plus(id, errors="strict"), unquote_plus(secret, errors="strict")
    except UnicodeDecodeError:
        return [(id, secret)]
    return list(dict.fromkeys(((id, secret), decoded)))


async def _by_form(service: Service, form: Mapping[str, str]) -> Client:
    id, secret = form.get("client_id", ""), form.get("client_secret", "")
    if not id:
        raise invalid_client("the client says not who it is: client_id, an Authorization header or client_assertion is needed")
    if max(len(id), len(secret)) > _LONGEST:
        raise invalid_client(_WRONG)
    if secret:
        client = await _with_secret(service, id, secret)
    else:
        client = await find_client(service.store, id)
        if client is not None and client.auth_method != "none":
            client = None
    if client is None:
        raise invalid_client(_WRONG)
    return client


async def _with_secret(service: Service, id: str, secret: str) -> Client | None:
    """The client, if it keeps a secret and it is this one. Basic and form are the same to a client with a secret."""
    client = await find_client(service.store, id)
    right = has_secret(client.secrets if client is not None else (), secret, service.clock())
    keeps = client is not None and client.auth_method in ("client_secret_basic", "client_secret_post")
    return client if right and keeps else None
