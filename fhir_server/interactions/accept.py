"""The one path for every document that comes in: structure, rules, search entry, draft. Nothing is stored without it."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final, ParamSpec, TypeVar

from conformance import added
from conformance.load import fhirpath
from fhir_server.context import Context
from fhir_server.views.compiler import problems_of
from resources import documents, structure
from resources.outcomes import FhirError, Issue, bad_request, unprocessable
from resources.store import Draft
from search.values import Entry

LARGE = 500_000
"""Bytes; to check as many takes about 20 ms."""

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Accepted:
    """A document fit to be stored: what the store takes, what an index in the store wants (None where there is none), and the
    decoded document itself.

    `warnings` are what the checks found short of an error.
    """

    draft: Draft
    entry: Entry | None
    document: dict[str, Any]
    warnings: tuple[Issue, ...] = ()


_BY_THEMSELVES: Final[dict[str, Callable[[Context, dict[str, Any]], list[Issue]]]] = {
    "SearchParameter": lambda ctx, document: ctx.custom.check(document),
    "ViewDefinition": lambda _ctx, document: problems_of(document),
}
"""Type -> what else must be right for this server to work with a document."""


def workable(ctx: Context, type: str, document: dict[str, Any]) -> list[Issue]:
    """What keeps this server from working with a document that breaks no rule otherwise."""
    check = _BY_THEMSELVES.get(type)
    return check(ctx, document) if check is not None else []


async def accept(ctx: Context, type: str, body: bytes, id: str) -> Accepted:
    """The resource in `body` (UTF-8 JSON, of type `type`), to be stored under `id`; its own id and meta.versionId are replaced.

    Raises FhirError with every problem found: 400 where the body is no resource of this type (syntax, unknown or misplaced
    elements), 422 where it breaks a rule (https://hl7.org/fhir/R4/http.html#create).
    """
    return await Incoming(ctx, type, body).accept(id)


class Incoming:
    """A document on its way in, for writes that may try several times: it is checked when it is first wanted, and only then."""

    def __init__(self, ctx: Context, type: str, body: bytes) -> None:
        self._ctx, self._type, self._body = ctx, type, body
        self._examined: tuple[dict[str, Any], list[Issue]] | None = None

    async def accept(self, id: str) -> Accepted:
        """The document, to be stored under `id`; as the function `accept`."""
        return await aside(len(self._body), self._under, id)

    def _under(self, id: str) -> Accepted:
        if self._examined is None:
            self._examined = _examine(self._ctx, self._type, self._body)
        document, warnings = self._examined
        entry = None
        if self._ctx.store.wants_entries:
            entry = self._ctx.extractor.extract(self._type, document if document.get("id") == id else {**document, "id": id})
        return Accepted(documents.draft(self._body, id), entry, document, tuple(warnings))


async def aside(size: int, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What `work` gives. On a large document (`size` in bytes) it is done in a thread, so that other requests are served meanwhile."""
    return await asyncio.to_thread(work, *args, **kwargs) if size > LARGE else work(*args, **kwargs)


def _examine(ctx: Context, type: str, body: bytes) -> tuple[dict[str, Any], list[Issue]]:
    """The decoded document and the warnings. Raises FhirError as `accept` does."""
    if not body:
        raise bad_request(f"The request has no body; a {type} resource in JSON is expected", code="required")
    issues = structural(body)
    document = documents.decode(body)
    if errors(issues):
        raise FhirError(400, [*issues, *beyond_structure(ctx, type, document, issues)])
    if document.get("resourceType") != type:
        raise FhirError(400, [other_type(type, document)])
    issues += ctx.validator.check(type, document)
    if not errors(issues):
        issues += workable(ctx, type, document)
    if errors(issues):
        raise unprocessable(issues)
    return document, issues


def structural(body: bytes) -> list[Issue]:
    """What `resources.structure.check` finds, or `conformance.added.check` of a type that R4 does not have, the places told
    as FHIRPath (it tells JSON's names: valueQuantity for value)."""
    if added.is_added(body):
        return added.check(body)
    return [replace(issue, expression=issue.expression and fhirpath(issue.expression)) for issue in structure.check(body)]


def other_type(type: str, document: dict[str, Any]) -> Issue:
    """The problem of a document that is not of the `type` that the request is about."""
    return Issue(
        "error", "invalid", f"The body is a {document.get('resourceType')}, but the request is about {type}", "resourceType"
    )


def beyond_structure(ctx: Context, type: str, document: dict[str, Any], known: list[Issue]) -> list[Issue]:
    """What else is wrong with a document whose structure is: the caller hears of everything at once, and of each place once."""
    if document.get("resourceType") != type:
        return [other_type(type, document)]
    places = {issue.expression for issue in known}
    return [issue for issue in ctx.validator.check(type, document) if issue.severity == "error" and issue.expression not in places]


def errors(issues: list[Issue]) -> bool:
    """Whether any of the issues is an error."""
    return any(issue.severity in ("error", "fatal") for issue in issues)
