"""$validate: what is wrong with a resource (https://hl7.org/fhir/R4/resource-operation-validate.html).

The answer is 200 with an OperationOutcome whatever the verdict, as the operation is defined; only a request that cannot be
understood is an error.
"""

from typing import Any

import msgspec

from fhir_server.context import Context
from fhir_server.interactions.accept import aside, beyond_structure, errors, other_type, structural, workable
from fhir_server.interactions.answers import live
from fhir_server.messages import FhirRequest, FhirResult, Identity
from fhir_server.operations.parameters import resource_type, simple
from resources import documents
from resources.outcomes import FhirError, Issue, bad_request, not_supported, operation_outcome

DEFINITION = "http://hl7.org/fhir/OperationDefinition/Resource-validate"

MODES = ("create", "update", "delete", "profile")
_BASE_PROFILE = "http://hl7.org/fhir/StructureDefinition/"
_MOST_PROFILES = 20
_ALL_OK = Issue("information", "informational", "No problems were found")


class _Parameter(msgspec.Struct, rename="camel"):
    name: str = ""
    resource: msgspec.Raw = msgspec.Raw()
    value_code: str = ""
    value_uri: str = ""
    value_canonical: str = ""
    value_string: str = ""


class _Parameters(msgspec.Struct):
    parameter: list[_Parameter] = []


_parameters = msgspec.json.Decoder(_Parameters).decode


async def validate(ctx: Context, who: Identity, request: FhirRequest) -> FhirResult:
    """Validate the resource in the body (itself, or as Parameters.resource), or the one stored under the URL's id.

    Raises FhirError 400 for an unknown mode or profile, or where there is no resource to validate.
    """
    body, given = _split(request)
    mode, profile = given.get("mode"), given.get("profile")
    if mode is not None and mode not in MODES:
        raise bad_request(f"mode must be one of {', '.join(MODES)}", "Parameters.parameter.where(name='mode')", "value")
    type = request.type
    if profile is not None and profile != _BASE_PROFILE + type:
        text = f"The profile {profile[:200]} is not known here; without `profile`, the rules of FHIR R4 for {type} are checked"
        raise not_supported(text)
    if mode == "delete":
        live(request, await ctx.store.read(request.type, request.id))
        return _verdict(request, [])
    if not body:
        if not request.id:
            raise bad_request(f"There is nothing to validate; send a {type} resource as the body", code="required")
        stored = live(request, await ctx.store.read(request.type, request.id)).body
        assert stored is not None
        body = stored
    id = request.id if mode == "update" else ""
    found = await aside(len(body), problems, ctx, type, body, id)
    return _verdict(request, found)


def problems(ctx: Context, type: str, body: bytes, id: str = "") -> list[Issue]:
    """Everything that is wrong with `body` as a resource of `type`; with `id`, also whether it can be an update of that."""
    try:
        issues = structural(body)
        document = documents.decode(body)
    except FhirError as failure:
        return failure.issues
    if errors(issues):
        return [*issues, *beyond_structure(ctx, type, document, issues)]
    if document.get("resourceType") != type:
        return [other_type(type, document)]
    if id and document.get("id") != id:
        issues.append(Issue("error", "value", f"For an update of {type}/{id} the body needs this id", f"{type}.id"))
    issues += ctx.validator.check(type, document)
    if not errors(issues):
        issues += workable(ctx, type, document)
    return [*issues, *_unchecked(type, document)]


def _unchecked(type: str, document: dict[str, Any]) -> list[Issue]:
    """What the verdict leaves out: the profiles that the resource claims beyond FHIR R4 itself."""
    meta = document.get("meta")
    claimed = meta.get("profile", ()) if isinstance(meta, dict) else ()
    text = "is not known here, so the resource was not checked against it"
    return [
        Issue("warning", "not-supported", f"The profile {profile[:200]} {text}", f"{type}.meta.profile[{number}]")
        for number, profile in enumerate(claimed[:_MOST_PROFILES])
        if isinstance(profile, str) and profile.partition("|")[0] != _BASE_PROFILE + type
    ]


def _verdict(request: FhirRequest, issues: list[Issue]) -> FhirResult:
    touched = (f"{request.type}/{request.id}",) if request.id else ()
    return FhirResult(200, (operation_outcome(issues or [_ALL_OK]),), touched=touched)


def _split(request: FhirRequest) -> tuple[bytes, dict[str, str]]:
    """The resource to validate (b"": none in the body) and the operation's other parameters."""
    given = {name: values[-1] for name, values in simple(request.having(body=b""), ("mode", "profile")).items()}
    if not request.body or request.type == "Parameters" or _type_or_none(request.body) != "Parameters":
        return request.body, given
    body = b""
    for one in _wrapped(request.body):
        if one.name == "resource":
            body = bytes(one.resource)
        elif one.name in ("mode", "profile"):
            given[one.name] = one.value_code or one.value_uri or one.value_canonical or one.value_string
        else:
            raise not_supported(f"$validate has no parameter {one.name[:64]}; it has resource, mode, profile")
    return body, given


def _wrapped(body: bytes) -> list[_Parameter]:
    try:
        return _parameters(body).parameter
    except (msgspec.MsgspecError, UnicodeDecodeError):
        text = "The Parameters resource cannot be read; send resource, and mode or profile as valueCode, valueUri or valueString"
        raise bad_request(text, "Parameters.parameter") from None


def _type_or_none(body: bytes) -> str | None:
    try:
        return resource_type(body)
    except FhirError:
        return None  # what is wrong with it is the verdict, not a failure of the request
