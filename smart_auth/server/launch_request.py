"""What a caller of /oauth/launch sends, read and checked member by member."""

import re
from typing import Annotated, Any, Final

import msgspec

from smart_auth.errors import invalid_request, wrong_member
from smart_auth.registration.redirect_uris import check_launch_uri

_RELATIVE: Final = re.compile(r"([A-Za-z]{1,64})/[A-Za-z0-9\-.]{1,64}", re.ASCII)
_NAMED_APART: Final = ("Patient", "Encounter")

_Id = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9\-.]{1,64}\Z")]
_Text = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
_Uri = Annotated[str, msgspec.Meta(min_length=1, max_length=2_000)]


class FhirContext(msgspec.Struct, forbid_unknown_fields=True):
    """An entry of fhirContext (https://hl7.org/fhir/smart-app-launch/STU2.2/scopes-and-launch-context.html#fhircontext-exp)."""

    reference: _Uri | msgspec.UnsetType = msgspec.UNSET
    canonical: _Uri | msgspec.UnsetType = msgspec.UNSET
    identifier: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
    type: _Text | msgspec.UnsetType = msgspec.UNSET
    role: _Uri | msgspec.UnsetType = msgspec.UNSET


class LaunchRequest(msgspec.Struct, forbid_unknown_fields=True):
    """The JSON object of the body."""

    client_id: _Text
    patient: _Id | msgspec.UnsetType = msgspec.UNSET
    encounter: _Id | msgspec.UnsetType = msgspec.UNSET
    fhir_context: Annotated[list[FhirContext], msgspec.Meta(max_length=50)] | msgspec.UnsetType = msgspec.field(
        name="fhirContext", default=msgspec.UNSET
    )
    intent: _Text | msgspec.UnsetType = msgspec.UNSET
    need_patient_banner: bool | msgspec.UnsetType = msgspec.UNSET
    tenant: _Text | msgspec.UnsetType = msgspec.UNSET
    smart_style_url: _Uri | msgspec.UnsetType = msgspec.UNSET
    user: _Text | msgspec.UnsetType = msgspec.UNSET


_decode = msgspec.json.Decoder(LaunchRequest).decode


def read_launch_request(body: bytes, types: frozenset[str]) -> LaunchRequest:
    """The request of a body; `types` are the resource types that there are. Raises OAuthError invalid_request, which names the member
    that is wrong and says why."""
    try:
        asked = _decode(body)
    except (msgspec.DecodeError, RecursionError) as failure:
        raise invalid_request(wrong_member(failure)) from None
    if asked.smart_style_url:
        try:
            check_launch_uri(asked.smart_style_url)
        except ValueError:
            raise invalid_request("smart_style_url must begin with https://") from None
    for number, each in enumerate(asked.fhir_context or ()):
        if wrong := _wrong(each, types):
            raise invalid_request(f"fhirContext[{number}]{wrong}")
    if asked.encounter and not asked.patient:
        raise invalid_request("encounter needs its patient: send patient too")
    return asked


def _wrong(entry: FhirContext, types: frozenset[str]) -> str:
    """What is wrong with an entry, "" for nothing."""
    if not (entry.reference or entry.canonical or entry.identifier):
        return " needs a reference, a canonical or an identifier"
    if entry.type and entry.type not in types:
        return f".type: {_word(entry.type)} is not a resource type of FHIR R4"
    return f".reference: {wrong}" if entry.reference and (wrong := _wrong_reference(entry.reference, types)) else ""


def _wrong_reference(reference: str, types: frozenset[str]) -> str:
    match = _RELATIVE.fullmatch(reference)
    if match is None:
        return "it must be relative, such as ImagingStudy/123"
    if match[1] not in types:
        return f"{match[1]} is not a resource type of FHIR R4"
    if match[1] in _NAMED_APART:
        return f"the {match[1]} is named by the member {match[1].lower()}, not in fhirContext"
    return ""


def _word(text: str) -> str:
    """What of a word may be repeated in an error."""
    return "".join(c for c in text[:64] if c.isascii() and (c.isalnum() or c in "-_.")) or "this"
