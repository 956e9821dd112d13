"""/oauth/authorize by GET or POST: checks what an app asks for, and hands over to sign-in and consent.

RFC 6749 (4.1.1), RFC 7636, OpenID Connect Core 1.0 (3.1.2), and
https://hl7.org/fhir/smart-app-launch/STU2.2/app-launch.html#obtain-authorization-code. Nobody is sent to an address that is
not the app's own: while it is not known to be one, an error is a page. So it is where an app registered itself, before the user has
decided anything.
"""

from typing import Final
from urllib.parse import urlencode

from smart_auth.clients import Client, find_client
from smart_auth.consent.context import Waiting, reachable
from smart_auth.consent.remembered import skips
from smart_auth.errors import OAuthError, invalid_request, invalid_scope
from smart_auth.issuing.codes import CHALLENGE
from smart_auth.issuing.tokens import answerable
from smart_auth.narrowing import covered
from smart_auth.people.sessions import signed_in
from smart_auth.scopes import MOST, Scopes, parse_scopes
from smart_auth.server.asked_scopes import Sorted, named, sort_scopes
from smart_auth.server.authorizations import allow, authorizations_of, grantable, with_answer
from smart_auth.server.launch import SCOPE as ORCHESTRATES
from smart_auth.server.launch import Launch, find_launch
from smart_auth.server.pending import UNSEEN, Pending, about_a_patient, keep_pending, new_pending_id
from smart_auth.server.redirects import registered
from smart_auth.server.token import FORM
from smart_auth.service import Service
from smart_auth.users import User
from smart_auth.web import WebRequest, WebResponse, redirect

PROMPTS: Final = frozenset(("none", "login", "consent", "select_account"))
LONGEST: Final = {"state": 4_096, "scope": 16_384, "nonce": 1_024, "login_hint": 256}
"""Characters of a parameter; 2,048 for the others."""
MOST_KEPT: Final = 8_192
"""Bytes of scopes, state and nonce together: what is kept before anybody has signed in."""
_LONGEST: Final = 2_048
_SECOND: Final = 1_000_000

Asked = dict[str, str]


async def authorize(service: Service, request: WebRequest) -> WebResponse:
    """303 to the consent page, or back to the app with an error. Raises OAuthError (a page), StoreUnavailable."""
    pairs = request.form if request.method == "POST" else request.query
    if request.method == "POST" and request.headers.get("content-type", "").partition(";")[0].strip().lower() != FORM:
        raise invalid_request(f"The parameters have to be sent as {FORM}")
    client, redirect_uri = await _returning(service, [value for name, value in pairs if name == "client_id"], pairs)
    states = [value for name, value in pairs if name == "state"]
    state = states[0] if len(states) == 1 and len(states[0]) <= LONGEST["state"] else ""
    try:
        asked = request.single(of=pairs)
        return await _checked(service, request, client, redirect_uri, asked)
    except OAuthError as refusal:
        if client.opened:  # whoever registers an address could lead people there by a link of ours (RFC 9700, 4.11.2)
            raise
        answer = {"error": refusal.error, "error_description": refusal.description, "state": state}
        return redirect(with_answer(service, redirect_uri, **answer))


async def _returning(service: Service, ids: list[str], pairs: tuple[tuple[str, str], ...]) -> tuple[Client, str]:
    """The client and where it wants its answer. Raises OAuthError where either is not certain."""
    uris = [value for name, value in pairs if name == "redirect_uri"]
    for name, values in (("client_id", ids), ("redirect_uri", uris)):
        if len(values) > 1:
            raise invalid_request(f"The app that sent you here has made a mistake: the parameter {name} is there twice")
    client = await find_client(service.store, ids[0]) if len(ids) == 1 else None
    if client is None or client.type == "backend":
        raise invalid_request("The app that sent you here is not known to this server (client_id)")
    if len(uris) != 1 or not registered(client, uris[0]):
        raise invalid_request("The app that sent you here wants its answer at an address that it has not registered (redirect_uri)")
    return client, uris[0]


async def _checked(service: Service, request: WebRequest, client: Client, redirect_uri: str, asked: Asked) -> WebResponse:
    for name, value in asked.items():
        if len(value) > LONGEST.get(name, _LONGEST):
            raise invalid_request(f"{name if name in LONGEST else 'a parameter'} is too long")
    _check_flow(service, asked)
    _check_challenge(asked)
    scopes, left_out = _possible(service, client, asked)
    if (
        sum(len(text.encode("utf-8", "surrogatepass")) for text in (scopes.text, asked["state"], asked.get("nonce", "")))
        > MOST_KEPT
    ):
        raise invalid_request(f"scope, state and nonce have more than {MOST_KEPT} bytes together")
    pending = await _waiting(service, client, redirect_uri, asked, scopes, named(left_out))
    if "none" in pending.prompt:
        return await _without_asking(service, request, client, pending)
    await keep_pending(service, pending)
    return redirect(f"/oauth/consent?{urlencode({'request': pending.id})}")


def _check_flow(service: Service, asked: Asked) -> None:
    if "request" in asked:
        raise OAuthError("request_not_supported", "requests as JWT are not taken: send the parameters")
    if "request_uri" in asked:
        raise OAuthError("request_uri_not_supported", "requests by reference are not taken: send the parameters")
    if not asked.get("response_type"):
        raise invalid_request("response_type is missing")
    if asked["response_type"] != "code":
        raise OAuthError("unsupported_response_type", "response_type has to be code")
    if asked.get("response_mode", "query") != "query":
        raise invalid_request("response_mode has to be query")
    if not asked.get("state"):
        raise invalid_request("state is missing: send an unpredictable value and compare it")
    if not asked.get("aud"):
        raise invalid_request(f"aud is missing: send the FHIR base URL, {service.urls.base}")
    if asked["aud"].removesuffix("/") not in service.urls.bases:
        raise invalid_request(f"aud is another server: send the FHIR base URL, {service.urls.base}")


def _check_challenge(asked: Asked) -> None:
    """PKCE with S256, of every client (SMART App Launch 2.2; RFC 9700, 2.1.1)."""
    if not asked.get("code_challenge"):
        raise invalid_request("code_challenge is missing: every app uses PKCE (RFC 7636)")
    if asked.get("code_challenge_method") != "S256":
        raise invalid_request("code_challenge_method has to be S256")
    if not CHALLENGE.fullmatch(asked["code_challenge"]):
        raise invalid_request("code_challenge has to be the SHA-256 of the verifier in base64url, 43 characters")


def _possible(service: Service, client: Client, asked: Asked) -> Sorted:
    """What can be granted of what is asked for. Apps that cannot prove who they are start no others."""

    def word(each: str) -> str:
        if each == "launch" and not asked.get("launch"):
            return "it counts only with the parameter launch"
        return "only clients with a secret or a key may" if each == ORCHESTRATES and client.auth_method == "none" else ""

    found = sort_scopes(service, client, asked.get("scope", ""), word)
    if len(found.possible.resources) > MOST:
        raise invalid_scope(
            f"scope asks for more than {MOST} single types: ask for less, or have the app registered for all types (*)"
        )
    return found


async def _launched(service: Service, client: Client, asked: Asked) -> Launch | None:
    """What an EHR has started the app with; None where the app started by itself."""
    if not asked.get("launch"):
        return None
    launch = await find_launch(service, client, asked["launch"])
    if launch is None:
        raise invalid_request("launch is unknown, was used, has expired, or is another app's: start the app again from the EHR")
    return launch


async def _waiting(service: Service, client: Client, redirect_uri: str, asked: Asked, scopes: Scopes, left_out: str) -> Pending:
    launch = await _launched(service, client, asked)
    now = service.clock()
    prompt = tuple(dict.fromkeys(asked.get("prompt", "").split()))
    if not PROMPTS.issuperset(prompt) or ("none" in prompt and len(prompt) > 1):
        raise invalid_request("prompt is none, or some of login, consent and select_account")
    max_age = _seconds(asked.get("max_age", ""))
    again = now if "login" in prompt or "select_account" in prompt else 0
    return Pending(
        id=new_pending_id(),
        client=client.id,
        redirect_uri=redirect_uri,
        scopes=scopes.text,
        left_out=left_out,
        challenge=asked["code_challenge"],
        state=asked["state"],
        created=now,
        expires=now + UNSEEN,
        nonce=asked.get("nonce", ""),
        login_hint=asked.get("login_hint", ""),
        prompt=prompt,
        launch=launch.id if launch is not None else "",
        patient=launch.patient if launch is not None else "",
        encounter=launch.encounter if launch is not None else "",
        for_user=launch.user if launch is not None else "",
        signed_in_after=max(again, now - max_age * _SECOND) if max_age is not None else again,
    )


def _seconds(text: str) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise invalid_request("max_age has to be a number of seconds")
    return int(text)


async def _without_asking(service: Service, request: WebRequest, client: Client, pending: Pending) -> WebResponse:
    """prompt=none: a code at once where the user is signed in and has granted all of it before, else an error (OpenID Connect, 3.1.2.6)."""
    found = await signed_in(service, request)
    if found is None or not pending.fresh(found[0]) or (pending.for_user and pending.for_user != found[1].name):
        raise OAuthError("login_required", "the user has to sign in")
    waits = Waiting(pending, 0, *found, request.address)
    if not (waits.lacks_patient or pending.needs_encounter) and await skips(service, client, waits):
        patient, encounter = pending.patient, pending.encounter
    else:
        patient, encounter = await _granted_before(service, client, pending, waits.user)
    if patient and await reachable(service, waits, patient) is None:
        raise OAuthError("access_denied", "the user cannot start apps for this patient")
    await keep_pending(service, pending)
    return await allow(service, pending, waits.user, waits.session, waits.grantable.text, patient, encounter)


async def _granted_before(service: Service, client: Client, pending: Pending, user: User) -> tuple[str, str]:
    """Patient and encounter of an authorization that has all that is asked for. Raises OAuthError where the user has to be asked.

    An app that cannot prove who it is has to be asked about each time, unless its answer goes to a web site of its own (RFC 8252, 8.6)."""
    certain = client.auth_method != "none" or pending.redirect_uri.startswith("https://")
    wanted = answerable(pending.possible, user)
    if certain and covered(wanted, grantable(pending, user)):
        for each in await authorizations_of(service, user.name):
            same = each.client == client.id and covered(wanted, parse_scopes(each.scopes))
            if same and pending.patient in ("", each.patient) and (each.patient or not about_a_patient(pending.possible)):
                return each.patient, each.encounter
    raise OAuthError("consent_required", "the user has to be asked")
