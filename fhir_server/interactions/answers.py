"""What handlers answer: a version as it was asked for, or what became of a write."""

from collections.abc import Sequence

from conformance.summary import MODES, subset
from fhir_server.context import Context
from fhir_server.interactions.binary import content
from fhir_server.messages import Answered, FhirRequest, FhirResult
from fhir_server.rest.conditional import not_modified
from fhir_server.rest.negotiation import only_other_formats
from fhir_server.rest.prefer import preferences
from resources.outcomes import Issue, bad_request, gone, not_found, operation_outcome
from resources.store import Key, Version, Written
from search.parse import Pairs, pairs_of

LATE = Issue(
    "information",
    "incomplete",
    "The search index has not caught up with the latest writes: what was written in the last moments may be missing",
)
"""What an answer says that was searched for in an index that lags behind."""


def of_version(request: FhirRequest, version: Version) -> FhirResult:
    """200 with a live version, cut to `_summary` or `_elements` if asked; 304 without a body if the caller has it already."""
    assert version.body is not None
    told = (version,)
    if not_modified(request.headers, version.version, version.instant):
        return FhirResult(304, version=version.version, instant=version.instant, told=told)
    if version.type == "Binary" and only_other_formats(request.query, request.headers.get("accept", "")):
        return content(request, version)
    body = version.body
    if "_summary" in request.query or "_elements" in request.query:
        body = shorten(version.type, body, *shape(pairs_of(request.query)))
    return FhirResult(200, (body,), version.version, version.instant, told=told)


def live(request: FhirRequest, version: Version | None) -> Version:
    """The version if it is one to show. Raises FhirError 404 where there is none, 410 where it is a deletion."""
    if version is None:
        raise not_found(f"{request.type}/{request.id} does not exist")
    if version.body is None:
        raise gone(f"{request.type}/{request.id} was deleted; its earlier versions are in {request.type}/{request.id}/_history")
    return version


async def present(ctx: Context, keys: Sequence[Key]) -> list[Version]:
    """The live documents of `keys`, in order; what was deleted since the keys were found is left out."""
    return [v for v in await ctx.store.read_many(keys) if v is not None and v.body is not None] if keys else []


def shape(given: Pairs) -> tuple[str | None, tuple[str, ...]]:
    """`_summary` and `_elements` among the (name, value) pairs of a request that is no search. Raises FhirError 400 for unknown values."""
    summary: str | None = None
    elements: tuple[str, ...] = ()
    for name, value in given:
        if name == "_summary":
            summary = value
            if summary not in MODES:
                raise bad_request(f"_summary must be one of {', '.join(MODES)}", code="value")
        elif name == "_elements":
            elements = tuple(part.strip() for part in value.split(",") if part.strip())
    return summary, elements


def shorten(type: str, body: bytes, summary: str | None, elements: tuple[str, ...]) -> bytes:
    """The part of a document that `_summary` or `_elements` leave; the document itself if neither asks for less."""
    mode = None if summary in ("false", "count") else summary
    return subset(type, body, mode, elements) if mode or elements else body


def of_write(request: FhirRequest, written: Written, warnings: tuple[Issue, ...] = ()) -> FhirResult:
    """200 or 201 with what `Prefer: return` asks for (https://hl7.org/fhir/R4/http.html#ops)."""
    version = written.version
    name = f"{version.type}/{version.id}"
    wanted = preferences(request.headers).answer
    body: tuple[bytes, ...] = ()
    if wanted == "representation":
        assert version.body is not None
        body = (version.body,)
    elif wanted == "OperationOutcome":
        done = f"{name} was {'created' if written.created else 'updated'} as version {version.version}"
        body = (operation_outcome([Issue("information", "informational", done), *warnings]),)
    return FhirResult(
        201 if written.created else 200,
        body,
        version.version,
        version.instant,
        f"{name}/_history/{version.version}",
        touched=(name,),
        answered=(Answered(version.type, version.id, version.version, own=written.created),),
    )
