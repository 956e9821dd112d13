"""What a search request asks for: its parameters read for each type that is searched, and the types themselves."""

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches

from fhir_server.context import Context
from fhir_server.messages import FhirRequest
from fhir_server.rest.negotiation import output
from fhir_server.rest.prefer import preferences
from resources.outcomes import FhirError, Issue, bad_request, error
from search.index import TooCostly
from search.parse import Pairs, pairs_of, parse
from search.query import Parsed, Query

ACROSS = frozenset(("_id", "_lastUpdated"))
"""What documents of different types can be sorted by: everything else is of one type, or means another thing in each."""

TYPES = "_type"

MOST_READ = 20_000
"""Most conditions that a search of several types may stand for, each counted for every type (an open chain as `_LINKED`)."""

_LINKED = 100

_MOST_WRONG = 20
"""So many wrong parameters are told of at least; the types that are left are then not read."""

Narrow = Callable[[Query], Query]


@dataclass(frozen=True, slots=True)
class Asked:
    """A search of one type or several: `parsed` is it as read for each, in the order of the types. `url` is where it was asked, `applied`
    what counted, for the links. `place` is what a page link belongs to beside the parameters. `deadline` (of `time.monotonic`): when the
    time that a search of several types has, which began before it was read, is up."""

    url: str
    parsed: tuple[Parsed, ...]
    applied: tuple[tuple[str, str], ...]
    place: str = ""
    deadline: float = math.inf

    @property
    def first(self) -> Parsed:
        """What all types have in common: includes, summary, cursor, and what was ignored."""
        return self.parsed[0]

    @property
    def queries(self) -> tuple[Query, ...]:
        return tuple(parsed.query for parsed in self.parsed)

    @property
    def types(self) -> tuple[str, ...]:
        return tuple(query.type for query in self.queries)


def text_of(request: FhirRequest) -> str:
    """The whole query, undecoded: that of the URL and that of a form body."""
    query = request.query
    if request.body:
        try:
            form = request.body.decode("ascii").strip()
        except UnicodeDecodeError:
            raise bad_request("The form body must be percent encoded (application/x-www-form-urlencoded)") from None
        output(form, "")  # a `_format` in the form is refused as one in the URL is
        query = f"{query}&{form}" if query else form
    return query


def read_one(ctx: Context, request: FhirRequest, type: str, url: str, narrow: Narrow | None = None, place: str = "") -> Asked:
    """A search of one type. Raises FhirError 400 with every wrong parameter."""
    lenient = preferences(request.headers).lenient
    parsed = _parse(ctx, request, type, text_of(request), lenient, (type,), inside=narrow is None)
    if narrow is not None:
        parsed = replace(parsed, query=narrow(parsed.query))
    return Asked(url, (parsed,), parsed.applied, place)


def named_types(ctx: Context, pairs: Pairs) -> tuple[tuple[str, ...], Pairs]:
    """The types that `_type` names, each once and in order (none: it is not given), and the other parameters. Raises FhirError 400."""
    suffixed = next((name for name, _ in pairs if name.startswith(f"{TYPES}:")), "")
    if suffixed:
        text = f"_type takes no modifier, such as {suffixed[5:60]}: name the types to search, as in _type=Patient,Practitioner"
        raise bad_request(text, suffixed[:100], "not-supported")
    given = [value for name, value in pairs if name == TYPES]
    rest = [pair for pair in pairs if pair[0] != TYPES]
    if len(given) > 1:
        raise bad_request("_type is given more than once: name all types in one, as in _type=Patient,Practitioner", TYPES, "value")
    types = tuple(dict.fromkeys(name for value in given for name in (part.strip() for part in value.split(",")) if name))
    if given and not types:
        raise bad_request("_type names no resource type, as in _type=Patient,Practitioner", TYPES, "value")
    for name in types:
        if name not in ctx.routes.types:
            close = get_close_matches(name[:64], sorted(ctx.routes.types), n=1, cutoff=0.6)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise bad_request(f"_type names {name[:64]!r}, which is not a resource type of FHIR R4{hint}", TYPES, "value")
    return types, rest


async def read_across(
    ctx: Context,
    request: FhirRequest,
    types: Sequence[str],
    pairs: Pairs,
    url: str,
    *,
    named: bool,
    narrow: Narrow | None = None,
    place: str = "",
) -> Asked:
    """A search of several types by parameters that all of them have. `named`: the types came by `_type`, which links must repeat.

    Others get their turn between the types. Raises FhirError 400 for what one of the types does not have, for a `_sort` that says
    nothing across types and for too many conditions; TooCostly where reading takes longer than a search may.
    """
    deadline = time.monotonic() + ctx.settings.search_timeout
    if len(types) > 1:
        _sortable(pairs)
        _bounded(types, pairs)
    lenient = preferences(request.headers).lenient
    parsed, ignored = await _read_all(ctx, request, types, pairs, lenient, deadline)
    if ignored and len(types) > 1:  # what one type lacks is left out for all: a search means the same for each of its types
        left = [pair for pair in pairs if pair[0] not in dict(ignored)]
        parsed, _ = await _read_all(ctx, request, types, left, lenient, deadline)
    parsed = [replace(each, ignored=tuple(ignored.items())) for each in parsed]
    if narrow is not None:
        parsed = [replace(each, query=narrow(each.query)) for each in parsed]
    applied = (((TYPES, ",".join(types)),) if named else ()) + parsed[0].applied
    return Asked(url, tuple(parsed), applied, f"{place}?{','.join(types)}", deadline)


def check_time(ctx: Context, deadline: float) -> None:
    """Raises TooCostly if a search of several types has used up its time."""
    if time.monotonic() > deadline:
        text = f"The search of several types took longer than {ctx.settings.search_timeout:g} seconds"
        raise TooCostly(f"{text}. Name fewer types with {TYPES}, ask for less, or for no total (_total=none).")


def _bounded(types: Sequence[str], pairs: Pairs) -> None:
    """Raises FhirError 400 where there is too much to read for each of the types."""
    asked = sum(_conditions(name, value) for name, value in pairs)
    if asked * len(types) > MOST_READ:
        text = f"{asked} conditions on each of {len(types)} types are too many: together there can be {MOST_READ}"
        raise error(400, "too-costly", f"{text}. Name the types that you need with {TYPES}, as in {TYPES}=Patient, or ask for less")


def _conditions(name: str, value: str) -> int:
    """Roughly how many conditions a parameter stands for in each type."""
    if name == "_filter":  # a comparison is three words; each link goes to all types that it may lead to
        return 1 + len(value.split()) // 3 + _LINKED * sum("." in word and word[0].isalpha() for word in value.split())
    return (1 + value.count(",")) * (_LINKED if "." in name else 1)


def _sortable(pairs: Pairs) -> None:
    for name, value in pairs:
        if name == "_sort":
            wrong = [key for key in value.split(",") if key.strip().removeprefix("-") not in ACROSS and key.strip()]
            if wrong:
                text = f"A search of several types can be sorted by {' or '.join(sorted(ACROSS))} only, not by {wrong[0][:100]!r}"
                raise error(400, "not-supported", f"{text}; name one type with {TYPES} to sort by its parameters", name)


async def _read_all(
    ctx: Context, request: FhirRequest, types: Sequence[str], pairs: Pairs, lenient: bool, deadline: float
) -> tuple[list[Parsed], dict[str, str]]:
    """Each type's reading, and name -> reason of what at least one of them ignored. Raises FhirError 400 with the problems, each once
    (of very many not all), and TooCostly."""
    found: list[Parsed] = []
    ignored: dict[str, str] = {}
    problems: dict[tuple[str | None, str], Issue] = {}
    for type in types:
        await asyncio.sleep(0)
        check_time(ctx, deadline)
        try:
            parsed = _parse(ctx, request, type, pairs, lenient, types)
        except FhirError as refused:
            for issue in refused.issues:
                problems.setdefault((issue.expression, issue.code), issue)
            if len(problems) >= _MOST_WRONG:
                break
            continue
        found.append(parsed)
        for name, reason in parsed.ignored:
            ignored.setdefault(name, reason)
    if problems:
        raise FhirError(400, [_common(issue) if found else issue for issue in problems.values()])
    return found, ignored


def _common(issue: Issue) -> Issue:
    return replace(issue, text=f"{issue.text}. A search of several types takes what all of them have")


def _parse(
    ctx: Context,
    request: FhirRequest,
    type: str,
    query: str | Pairs,
    lenient: bool,
    among: Sequence[str],
    *,
    inside: bool = False,
) -> Parsed:
    return parse(
        type,
        query,
        parameters=ctx.parameters,
        base_url=ctx.settings.bases,
        asked_at=request.base,
        lenient=lenient,
        default_count=ctx.settings.default_count,
        max_count=ctx.settings.max_count,
        among=among,
        inside=inside,
    )


def pairs(request: FhirRequest) -> Pairs:
    """The decoded parameters of a request's URL and form. Raises FhirError 400."""
    return pairs_of(text_of(request))
