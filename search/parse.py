"""A query string -> Query. Every problem is reported at once (https://hl7.org/fhir/R4/search.html#errors)."""

from collections.abc import Callable, Sequence
from urllib.parse import parse_qsl

from resources import instants
from resources.outcomes import FhirError, bad_request
from search.clauses import Notes
from search.conditions import read_condition
from search.parameters import Parameters
from search.query import AllOf, Condition, Parsed, Query
from search.reading.hints import hints
from search.reading.includes import Includes, ends
from search.shaping import Shape, read_shape
from search.text.scoring import SCORE, texts_of
from search.types.text import Reading, bases_of, blank

MAX_LENGTH = 131_072
"""Longest query string, in characters (a POST to `_search` may carry more than a URL)."""

MAX_PARAMETERS = 200
"""Most parameters in one query."""

_NOT_INSIDE = frozenset(("_include", "_revinclude"))
"""What contained resources, which have no address of their own, cannot be searched with."""

Pairs = Sequence[tuple[str, str]]


def parse(
    type: str,
    query: str | Pairs,
    *,
    parameters: Parameters,
    base_url: str | tuple[str, ...],
    asked_at: str = "",
    lenient: bool = False,
    default_count: int = 20,
    max_count: int = 1_000,
    among: Sequence[str] = (),
    inside: bool = False,
    now: Callable[[], int] = instants.now,
) -> Parsed:
    """The search of `type` that a query string (or its decoded pairs) asks for.

    `base_url` is this server's own, or all the URLs that mean it: references below them are relative ones, as in the `Extractor`. Below
    `asked_at`, the base URL that the request was sent to, they are both, since the Extractor may not know it. `now` (microseconds since
    the epoch) is what `ap` measures from. `among` are all types that are searched together with this one, from which `_include` may
    start. `inside`: whether the caller can search for contained resources. A parameter without a value (white space is
    none) is ignored, one that does not exist or is not supported only with `lenient`; both are told in `Parsed.ignored`. `_count` above
    `max_count` is cut to it, and so told in `Parsed.applied`. Raises FhirError 400 with all problems; `expression` is the parameter's name.
    """
    notes = Notes(lenient)
    shape = Shape(type, parameters, notes, Includes(among or (type,), parameters, notes), default_count, max_count, inside=inside)
    own, asked = bases_of(base_url), f"{asked_at}/" if asked_at else ""
    reading = Reading(own, now(), "" if asked in own else asked)
    clauses: list[Condition] = []
    for name, value in pairs_of(query):
        if blank(value):
            notes.ignored.append((name, "it has no value"))
        elif name.endswith(":") or ":." in name:
            text = f"{name[:100]!r}: nothing stands after a colon; leave the colon out, or name a modifier or a type after it"
            notes.refuse(name, text, "not-supported")
        elif not read_shape(shape, name, value):
            clause = read_condition(type, name, value, parameters, reading, notes)
            if clause is not None:
                clauses += clause.conditions if isinstance(clause, AllOf) else (clause,)
                notes.applied.append((name, value))
    _agree(shape)
    if any(key.parameter.code == SCORE for key in shape.sort) and not any(texts_of(tuple(clauses))):
        _unscored(shape)
    if notes.issues:
        raise FhirError(400, notes.issues)
    return _parsed(shape, tuple(dict.fromkeys(clauses)))


def _unscored(shape: Shape) -> None:
    """There are no words to score by: the key is none."""
    notes = shape.notes
    notes.pass_over("_sort", "Only what is found by words has a _score: give _text or _content, or sort by something else")
    shape.sort = tuple(key for key in shape.sort if key.parameter.code != SCORE)
    others = ",".join(key for name, value in notes.applied if name == "_sort" for key in value.split(",") if SCORE not in key)
    notes.applied[:] = [pair for pair in notes.applied if pair[0] != "_sort"] + ([("_sort", others)] if others else [])


def _agree(shape: Shape) -> None:
    """What two parameters together cannot mean (https://hl7.org/fhir/R4/search.html#summary)."""
    notes = shape.notes
    if shape.summary == "text" and shape.includes.found:
        notes.refuse("_summary", "_summary=text cannot be asked for together with _include or _revinclude", "invalid")
    if shape.elements and shape.summary not in (None, "false"):
        notes.ignored.append(("_elements", "_summary says already what is shown"))
        notes.applied[:] = [pair for pair in notes.applied if pair[0] != "_elements"]
        shape.elements = ()
    if shape.contained != "false":
        for name in [name for name, _ in notes.applied if name.partition(":")[0] in _NOT_INSIDE]:
            notes.refuse(name, f"{name} cannot be asked for together with _contained={shape.contained}", "not-supported")
        if any(key.via or key.parameter.code == SCORE for key in shape.sort):
            text = "together with _contained only the parameters of the contained resource itself can be sorted by"
            notes.refuse("_sort", f"_sort: {text}", "not-supported")
    elif "_containedType" in shape.seen:
        notes.ignored.append(("_containedType", "without _contained=true or both nothing contained is looked for"))
        notes.applied[:] = [pair for pair in notes.applied if pair[0] != "_containedType"]


def _parsed(shape: Shape, clauses: tuple[Condition, ...]) -> Parsed:
    only_count = shape.summary == "count"
    query = Query(
        shape.type,
        clauses,
        sort=shape.sort,
        count=0 if only_count else shape.count,
        total="accurate" if only_count else shape.total or ("accurate" if shape.count == 0 else "cheap"),
        explain=shape.explain,
    )
    notes, includes = shape.notes, tuple(shape.includes.found)
    shown = (*shape.includes.searched, *sorted(ends(includes) - set(shape.includes.searched)))
    elements = shape.elements if shape.contained == "false" or shape.parts else ()  # containers may be of any type
    told = (*notes.hints, *hints(shown, clauses, elements))
    return Parsed(
        query,
        tuple(notes.applied),
        tuple(notes.ignored),
        includes,
        shape.summary,
        shape.elements,
        shape.cursor,
        told,
        shape.contained,
        shape.parts,
    )


def pairs_of(query: str | Pairs) -> Pairs:
    """The decoded (name, value) pairs of a query string. Raises FhirError 400 if it is too long or not UTF-8."""
    if not isinstance(query, str):
        if len(query) > MAX_PARAMETERS:
            raise _too_many(len(query))
        return query
    if len(query) > MAX_LENGTH:
        raise bad_request(f"The query has {len(query)} characters; at most {MAX_LENGTH} are allowed", code="too-long")
    if (count := query.count("&") + 1) > MAX_PARAMETERS:
        raise _too_many(count)
    try:
        return parse_qsl(query, keep_blank_values=True, encoding="utf-8", errors="strict")
    except UnicodeDecodeError as wrong:
        raise bad_request("The query is not UTF-8: percent-encode each byte of the UTF-8 form") from wrong


def _too_many(count: int) -> FhirError:
    return bad_request(f"The query has {count} parameters; at most {MAX_PARAMETERS} are allowed", code="too-costly")
