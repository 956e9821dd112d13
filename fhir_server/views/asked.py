"""The parameters of ViewDefinition/$run, read and checked (https://sql-on-fhir.org/ig/OperationDefinition-ViewDefinitionRun.html)."""

from dataclasses import dataclass, replace
from typing import Any, Final

from fhir_server.interactions.accept import structural
from fhir_server.messages import FhirRequest
from fhir_server.rest.query_string import instant_range
from fhir_server.views.parameters import RESOURCES, boolean, id_of, pairs, simple, wrong
from fhir_server.views.writers.formats import MEDIA_TYPES, format_of
from resources import documents
from resources.outcomes import FhirError, bad_request, error, shown

PARAMETERS: Final = (
    "viewResource", "viewReference", "_format", "header", "patient", "group", "_since", "_limit", "resource",
)  # fmt: skip
SEVERAL: Final = frozenset(("patient", "group", "resource"))
MOST_ROWS: Final = 2**53


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be run. `view`: the ViewDefinition sent along (decoded JSON), or None and `reference` tells where it is. `patients`,
    `groups`: ids. `since`: microseconds since the epoch. `limit`: rows. `resources`: bytes of those sent along; None: what is stored.
    `told`: the parameters as the record of accesses names them; `sent`: the bytes of `view`."""

    view: Any
    reference: str
    format: str
    header: bool
    patients: tuple[str, ...]
    groups: tuple[str, ...]
    since: int
    limit: int
    resources: tuple[bytes, ...] | None
    told: tuple[tuple[str, str], ...]
    sent: bytes | None = None


def read_asked(request: FhirRequest) -> Asked:
    """What the request asks for. Raises FhirError 400, also for parameters that are not offered."""
    values: dict[str, list[Any]] = {}
    for name, value in pairs(request):
        if name not in PARAMETERS:
            raise wrong(name, f"$run has no parameter {shown(name)} here; it has {', '.join(PARAMETERS)}", "not-supported")
        if name in values and name not in SEVERAL:
            raise wrong(name, f"{name} is given more than once", "value")
        values.setdefault(name, []).append(value)
    one = {name: found[0] for name, found in values.items()}
    reference = simple("viewReference", one.get("viewReference", ""))
    if request.id:
        if "viewReference" in one or "viewResource" in one:
            raise wrong("viewReference", f"The view is named by the URL: ViewDefinition/{request.id}", "value")
        reference = f"ViewDefinition/{request.id}"
    elif bool(reference) == ("viewResource" in one):
        raise bad_request("One of viewResource and viewReference is needed, and only one", "viewReference", "required")
    texts = {name: [simple(name, value) for value in found] for name, found in values.items() if name not in RESOURCES}
    return Asked(
        view=_view(one["viewResource"]) if "viewResource" in one else None,
        reference=reference,
        format=chosen_format(request, texts.get("_format", [""])[0]),
        header=boolean("header", texts.get("header", ["true"])[0]),
        patients=tuple(id_of("patient", "Patient", text, request.base) for text in texts.get("patient", ())),
        groups=tuple(id_of("group", "Group", text, request.base) for text in texts.get("group", ())),
        since=instant_range("_since", texts["_since"][0])[0] if "_since" in texts else 0,
        limit=_limit(texts["_limit"][0]) if "_limit" in texts else MOST_ROWS,
        resources=tuple(map(_sound, values["resource"])) if "resource" in values else None,
        told=tuple((name, text) for name, found in texts.items() if name != "viewReference" for text in found),
        sent=one.get("viewResource"),
    )


def _view(body: bytes) -> Any:
    view = documents.decode(body)
    if not isinstance(view, dict):
        raise wrong("viewResource", "viewResource must be a ViewDefinition", "structure")
    return view


def _sound(body: bytes) -> bytes:
    """The bytes of a resource that was sent along: with elements of the right types, as those of the store are."""
    try:
        found = [issue for issue in structural(body) if issue.severity in ("error", "fatal")]
        documents.decode(body)  # its numbers can be kept
    except FhirError as problem:
        found = problem.issues
    if found:
        raise FhirError(400, [replace(issue, text=f"resource: {issue.text}") for issue in found])
    return body


def _limit(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 < int(text[:17]) <= MOST_ROWS:
        raise wrong("_limit", "_limit must be a number of rows, 1 or more", "value")
    return int(text[:17])


def format_named(given: str) -> str:
    """The format that `_format` names. Raises FhirError 400 where it is not offered."""
    found = format_of(given.replace(" ", "+"))  # a plus sign that was not escaped in a URL
    if found is None:
        raise wrong("_format", f"_format={given[:40]} is not offered; there is {', '.join(MEDIA_TYPES)}", "not-supported")
    return found


def chosen_format(request: FhirRequest, given: str) -> str:
    """The format that is wanted: `_format`, else the first in Accept that is offered, else JSON."""
    if given:
        return format_named(given)
    accept = request.headers.get("accept", "")
    wanted = [part for part in accept.split(",") if part.strip() and not part.replace(" ", "").endswith(";q=0")]
    for part in wanted:
        media = part.partition(";")[0].strip()
        found = "json" if media in ("*/*", "application/*", "*") else format_of(media)
        if found is not None:
            return found
    if wanted:
        raise error(406, "not-supported", f"Accept: {accept[:80]} is not offered; there is {', '.join(MEDIA_TYPES.values())}")
    return "json"
