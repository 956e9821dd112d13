"""Observation/$lastn: the latest observations of each code (https://hl7.org/fhir/R4/observation-operation-lastn.html).

Observations whose codes have a coding in common count as of one code, and so do those that a third one connects; without any coding, those
with the same text. The latest are those with the latest `effective`; of several at the same moment none is left out.
"""

from collections.abc import Iterator, Sequence
from typing import cast
from urllib.parse import urlencode

from fhir_server.context import Context
from fhir_server.interactions.answers import LATE, present, shorten
from fhir_server.messages import FhirRequest, FhirResult, Identity
from fhir_server.operations.parameters import given
from fhir_server.rest.prefer import preferences
from fhir_server.rest.query_string import page_links
from fhir_server.searching.depending import is_late
from fhir_server.searching.into import searchable
from resources.bundles import Mode, outcome_entry, search_entry, searchset
from resources.documents import decode
from resources.outcomes import Issue, bad_request, operation_outcome
from resources.store import Key, Version
from search.indexes.latest import latest_of
from search.parse import Pairs, parse
from search.query import AllOf, AnyOf, Chain, Clause, Condition, Modifier, Negation, Parsed, Text
from search.values import fold

DEFINITION = "http://hl7.org/fhir/OperationDefinition/Observation-lastn"

_SUBJECTS = ("patient", "subject")
_WITHOUT_VALUE = frozenset((Modifier.MISSING, Modifier.NOT, Modifier.NOT_IN))
_NOT_HERE = ("_sort", "_count", "_total", "_cursor", "_explain")


async def lastn(ctx: Context, who: Identity, request: FhirRequest) -> FhirResult:
    """200 with a searchset, not paged. Raises FhirError 400 without a subject, for a wrong `max`, and for every wrong parameter."""
    most, pairs = _read(given(request))
    parsed = _parse(ctx, request, pairs)
    late = await is_late(ctx, [parsed.query], parsed.includes)
    code = ctx.parameters.of("Observation")["code"]
    found = await ctx.index.latest(await searchable(ctx, parsed.query), code, most)
    versions = await present(ctx, [key for group in found.groups for key in group])
    by_text, _ = latest_of(_by_text(ctx, await present(ctx, found.apart)), most)
    versions += [version for group in by_text for version in group]
    limit = ctx.settings.max_count
    issues = [Issue("warning", "not-supported", f"{name} was ignored: {reason}") for name, reason in parsed.ignored]
    issues += [Issue("information", "informational", hint) for hint in parsed.hints]
    issues += [LATE] if late else []
    if len(versions) > limit and parsed.summary != "count":
        text = f"{len(versions)} observations are the latest; {limit} are shown (FHIR_MAX_COUNT). Narrow it by category or code"
        issues.append(Issue("warning", "incomplete", text))
    shown = [] if parsed.summary == "count" else versions[:limit]
    return await _answer(ctx, request, parsed, (most, shown, len(versions)), issues)


def _read(pairs: Pairs) -> tuple[int, Pairs]:
    """`max`, and the search parameters."""
    asked = [value for name, value in pairs if name == "max"]
    rest = [pair for pair in pairs if pair[0] != "max"]
    if len(asked) > 1 or any(not (value.isascii() and value.isdigit() and 0 < int(value[:9]) <= 1_000) for value in asked):
        raise bad_request("max is how many observations of each code are wanted: one whole number from 1 to 1000", "max", "value")
    for name, _ in rest:
        if name in _NOT_HERE:
            text = f"$lastn has no {name}: the latest come first, as many of each code as max says, and no pages"
            raise bad_request(text, name, "not-supported")
    return (int(asked[0]) if asked else 1), rest


def _parse(ctx: Context, request: FhirRequest, pairs: Pairs) -> Parsed:
    parsed = parse(
        "Observation",
        pairs,
        parameters=ctx.parameters,
        base_url=ctx.settings.bases,
        asked_at=request.base,
        lenient=preferences(request.headers).lenient,
    )
    if not any(_of_somebody(condition) for condition in parsed.query.clauses):
        text = "$lastn needs patient or subject with a value, as in Observation/$lastn?patient=1&category=vital-signs"
        raise bad_request(f"{text}; what only leaves somebody out (:not, :missing) would ask for everybody else", code="required")
    return parsed


def _of_somebody(condition: Condition) -> bool:
    """Whether it holds for the observations of those only whom it names by a value."""
    if isinstance(condition, Clause):
        return condition.parameter.code in _SUBJECTS and _has_value(condition)
    if isinstance(condition, Chain):
        return all(p.code in _SUBJECTS for p in condition.parameters) and any(map(_has_value, condition.conditions))
    if isinstance(condition, AnyOf):
        return bool(condition.conditions) and all(map(_of_somebody, condition.conditions))
    return isinstance(condition, AllOf) and any(map(_of_somebody, condition.conditions))


def _has_value(condition: Condition) -> bool:
    """Whether it asks for a value, and not for the lack of one or for any."""
    if isinstance(condition, Clause):
        return condition.modifier not in _WITHOUT_VALUE
    if isinstance(condition, AnyOf):
        return all(map(_has_value, condition.conditions))
    if isinstance(condition, Negation | Text):
        return isinstance(condition, Text)
    return any(map(_has_value, condition.conditions))


def _by_text(ctx: Context, versions: Sequence[Version]) -> Iterator[tuple[Version, int, tuple[str, ...]]]:
    """Observations without a coding, by the words for their code; those without words are a group by themselves."""
    for version in versions:
        assert version.body is not None
        document = decode(version.body)
        text = document.get("code", {}).get("text", "")
        yield version, ctx.extractor.extract(version.type, document).date, (fold(text),)


async def _answer(
    ctx: Context, request: FhirRequest, parsed: Parsed, found: tuple[int, list[Version], int], issues: list[Issue]
) -> FhirResult:
    most, versions, total = found
    included: list[Version] = []
    if parsed.includes and versions:
        keys = [Key(version.type, version.id) for version in versions]
        extra = await ctx.index.include(keys, parsed.includes, limit=ctx.settings.include_limit)
        included = await present(ctx, extra.keys)
        if extra.truncated:
            issues.append(Issue("warning", "incomplete", f"Only {len(included)} resources are included (FHIR_INCLUDE_LIMIT)"))
    entries = []
    for mode, part in (("match", versions), ("include", included)):
        for version in part:
            assert version.body is not None
            body = shorten(version.type, version.body, parsed.summary, parsed.elements)
            entries.append(search_entry(request.base, version.type, version.id, body, cast(Mode, mode)))
    if issues:
        entries.append(outcome_entry(operation_outcome(issues)))
    applied = urlencode((("max", most), *parsed.applied))
    links = page_links(f"{request.base}/Observation/$lastn", applied, None)
    return FhirResult(200, (searchset(entries, links=links, total=total),), told=(*versions, *included))
