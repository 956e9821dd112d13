"""What a `$viewdefinition-export` is asked for (https://sql-on-fhir.org/ig/OperationDefinition-ViewDefinitionExport.html)."""

import asyncio
from typing import Any, Final

import msgspec

from fhir_server.context import Context
from fhir_server.exporting.given import MOST_BODY, MOST_PARAMETERS
from fhir_server.exporting.members import group_store, read_group
from fhir_server.messages import FhirRequest, Identity
from fhir_server.permission import require
from fhir_server.rest.query_string import instant_range
from fhir_server.views.asked import format_named
from fhir_server.views.compiler import View, compile_view
from fhir_server.views.narrowing import checked
from fhir_server.views.parameters import boolean, id_of, pairs, simple, wrong
from fhir_server.views.running import as_caller, stored_view
from resources import documents
from resources.outcomes import FhirError, Issue, bad_request, error, shown

PARAMETERS: Final = ("view", "clientTrackingId", "_format", "header", "patient", "group", "_since")
SEVERAL: Final = frozenset(("view", "patient", "group"))
PARTS: Final = ("name", "viewReference", "viewResource")

MOST_VIEWS: Final = 100
"""Views of one export."""

MOST_GROUPS: Final = 100
"""Groups whose members one export is of."""

LONGEST_NAME: Final = 255
"""Characters of names and of the client's tracking id."""


class AskedView(msgspec.Struct, frozen=True):
    """One view: the name of its output, the ViewDefinition as it was then, the type of resources that it is of, `ViewDefinition/[id]` where
    it is stored."""

    name: str
    document: msgspec.Raw
    type: str
    reference: str = ""

    def compiled(self) -> View:
        """The view, ready to be run."""
        return compile_view(documents.decode(bytes(self.document)))


class Asked(msgspec.Struct, frozen=True, omit_defaults=True):
    """The parameters of an export of views. `base` is the FHIR base that it was asked at, `patients` and `groups` are ids, `since` is in
    microseconds since the epoch (0: without), `tracking` the client's own name for it."""

    views: tuple[AskedView, ...]
    base: str
    format: str = "ndjson"
    header: bool = True
    patients: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    since: int = 0
    tracking: str = ""


async def read_asked(ctx: Context, who: Identity, request: FhirRequest) -> Asked:
    """What the request asks for. Raises FhirError 400, 403 for types that the caller may see nothing of, 404 for views, patients and Groups
    that are not there, 422 for views that cannot be run: all that is wrong with views at once."""
    values = _values(request)
    one = {name: simple(name, found[0]) for name, found in values.items() if name not in SEVERAL}
    asked = Asked(
        views=await _views(ctx, request, values.get("view", [])),
        base=request.base,
        format=format_named(one.get("_format") or "ndjson"),
        header=boolean("header", one.get("header", "true")),
        patients=tuple(id_of("patient", "Patient", simple("patient", each), request.base) for each in values.get("patient", ())),
        groups=tuple(id_of("group", "Group", simple("group", each), request.base) for each in values.get("group", ())),
        since=instant_range("_since", one["_since"])[0] if "_since" in one else 0,
        tracking=_short("clientTrackingId", one.get("clientTrackingId", "")),
    )
    if asked.since > ctx.clock():
        raise wrong("_since", "_since lies in the future", "value")
    await checked(as_caller(ctx, "s"), asked.patients, status=404)
    groups = await group_store(as_caller(ctx, "rs"), who) if asked.groups else ctx.store
    for id in asked.groups:
        await read_group(groups, id)
    return asked


def told(asked: Asked) -> list[tuple[str, str]]:
    """The parameters as the record of accesses names them."""
    found = [("view", view.reference or view.name) for view in asked.views] + [("_format", asked.format)]
    return [*found, *(("patient", f"Patient/{id}") for id in asked.patients), *(("group", f"Group/{id}") for id in asked.groups)]


def _values(request: FhirRequest) -> dict[str, list[Any]]:
    if len(request.body) > MOST_BODY:
        raise error(413, "too-long", f"The parameters of a kick-off have {MOST_BODY} bytes at most; these have {len(request.body)}")
    values: dict[str, list[Any]] = {}
    for number, (name, value) in enumerate(pairs(request)):
        if number >= MOST_PARAMETERS:
            raise bad_request(f"A kick-off has {MOST_PARAMETERS} parameters at most", code="too-costly")
        if name not in PARAMETERS:
            text = f"$viewdefinition-export has no parameter {shown(name)} here; it has {', '.join(PARAMETERS)}"
            raise wrong(name, text, "not-supported")
        if name in values and name not in SEVERAL:
            raise wrong(name, f"{name} is given more than once", "value")
        values.setdefault(name, []).append(value)
    if len(values.get("group", ())) > MOST_GROUPS:
        raise wrong("group", f"At most {MOST_GROUPS} Groups are exported together", "too-costly")
    return values


def _short(name: str, text: str) -> str:
    if len(text) > LONGEST_NAME:
        raise wrong(name, f"{name} is longer than {LONGEST_NAME} characters", "too-long")
    return text


async def _views(ctx: Context, request: FhirRequest, given: list[Any]) -> tuple[AskedView, ...]:
    if request.id:
        if given:
            raise wrong("view", f"The view is named by the URL: ViewDefinition/{request.id}", "value")
        given = [[("viewReference", f"ViewDefinition/{request.id}")]]
    if not given:
        raise bad_request("At least one view is needed, with a viewReference or a viewResource", "view", "required")
    if len(given) > MOST_VIEWS:
        raise bad_request(f"There are {len(given)} views; at most {MOST_VIEWS} are exported together", "view", "too-costly")
    found: list[AskedView] = []
    issues: list[Issue] = []
    statuses = []
    for number, parts in enumerate(given):
        await asyncio.sleep(0)  # to compile a view may take a while, and others have their turn
        try:
            found.append(await _view(ctx, request, parts, number))
        except FhirError as refusal:
            if refusal.status in (401, 403):
                raise
            statuses.append(refusal.status)
            issues += [_placed(issue, number) for issue in refusal.issues]
    if issues:
        raise FhirError(statuses[0] if len(set(statuses)) == 1 else 400, issues)
    names = [view.name for view in found]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise wrong("view", f"Two outputs have the name {shown(twice)}: give one of them another by view.name", "duplicate")
    return tuple(found)


async def _view(ctx: Context, request: FhirRequest, parts: Any, number: int) -> AskedView:
    if not isinstance(parts, list) or any(name not in PARTS for name, _ in parts):
        raise bad_request(f"A view has parts, of {', '.join(PARTS)}", "view", "structure")
    given = dict(parts)
    if len(given) != len(parts) or ("viewReference" in given) == ("viewResource" in given):
        raise bad_request("A view needs either viewReference or viewResource, once", "view", "required")
    reference, body = "", b""
    if "viewReference" in given:
        version = await stored_view(ctx, request, simple("viewReference", given["viewReference"]))
        assert version.body is not None
        reference, body = f"ViewDefinition/{version.id}", version.body
    else:
        body = given["viewResource"]
    view = compile_view(documents.decode(body))
    require(ctx.decision, "s", view.resource)
    name = _short("name", simple("name", given.get("name", view.name or f"view{number + 1}")))
    return AskedView(name or f"view{number + 1}", msgspec.Raw(body), view.resource, reference)


def _placed(issue: Issue, number: int) -> Issue:
    """The issue with its place in the request's Parameters."""
    at = f"Parameters.parameter.where(name = 'view')[{number}]"
    place = issue.expression or ""
    if place.startswith("ViewDefinition"):
        at += ".part.resource" + place.removeprefix("ViewDefinition")
    return Issue(issue.severity, issue.code, issue.text, at)
