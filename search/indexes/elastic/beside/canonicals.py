"""Includes by canonical URLs: the queries for documents that others name so, and for those that name them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from search.indexes.elastic.beside.asking import Hit
from search.indexes.elastic.fields import path
from search.indexes.elastic.terms import WILD, Json, one_of
from search.parameter import Canonical, SearchParameter
from search.query import Include
from search.types.canonical import Name, answers, names

_TOGETHER = 200
"""Names that one query looks for: Elasticsearch has a limit on the clauses of one."""

Asked = Mapping[SearchParameter, Sequence[Name]]
"""What is asked for by each parameter."""


def of_sources(rule: Include, hits: Sequence[Hit]) -> Asked:
    """What documents name, of which the values of the rule's parameters were read."""
    found: dict[SearchParameter, dict[Name, None]] = {}
    for parameter in rule.parameters:
        for hit in hits if parameter.canonicals else ():
            found.setdefault(parameter, {}).update(names(hit.fields.get(f"{path(parameter)}.t", ())))
    return {parameter: list(asked) for parameter, asked in found.items()}


def ends(rule: Include, asked: Asked) -> Iterator[tuple[str, list[Json]]]:
    """(type, queries) for the documents that are named."""
    for parameter, wanted in asked.items():
        for canonical in parameter.canonicals if wanted else ():
            if rule.target in (None, canonical.type):
                for part in _parts(wanted):
                    yield (
                        canonical.type,
                        [
                            *one_of(f"{path(canonical.url)}.t", (url for url, version in part if not version)),
                            *(_versioned(canonical, name) for name in part if name[1]),
                        ],
                    )


def _versioned(canonical: Canonical, name: Name) -> Json:
    url, version = name
    return {"bool": {"filter": [{"term": {f"{path(canonical.url)}.t": url}}, {"term": {f"{path(canonical.version)}.c": version}}]}}


def followed(rule: Include) -> dict[str, Canonical]:
    """Type -> how it is named, for all types that the rule's canonicals may name."""
    found = (canonical for parameter in rule.parameters for canonical in parameter.canonicals)
    return {canonical.type: canonical for canonical in found if rule.target in (None, canonical.type)}


def own_fields(canonical: Canonical) -> list[str]:
    """The fields that tell a document's own URL and version: what it is sorted by, which is all of a text that is followed."""
    return [f"{path(each)}.o" for each in canonical]


def of_ends(rule: Include, hits: Iterable[tuple[Canonical, Hit]]) -> Asked:
    """The names that lead to documents, of which `own_fields` were read."""
    found: dict[str, dict[Name, None]] = {}
    for canonical, hit in hits:
        urls, versions = ([str(value) for value in hit.fields.get(field, ())] for field in own_fields(canonical))
        found.setdefault(canonical.type, {}).update(answers(urls, versions))
    return {
        parameter: list(dict.fromkeys(name for canonical in parameter.canonicals for name in found.get(canonical.type, ())))
        for parameter in rule.parameters
    }


def sources(asked: Asked) -> Iterator[list[Json]]:
    """Queries for the documents that have one of the names."""
    for parameter, wanted in asked.items():
        field = f"{path(parameter)}.t"
        for part in _parts(wanted):
            any_version = (_any_version(field, url) for url, version in part if not version)
            yield [*one_of(field, (f"{url}|{version}" for url, version in part if version)), *any_version]


def _any_version(field: str, url: str) -> Json:
    """A document that names a version has the URL alone as well."""
    versions = {"wildcard": {field: {"value": f"{url.translate(WILD)}|?*"}}}
    return {"bool": {"filter": one_of(field, (url, f"{url}|")), "must_not": [versions]}}


def _parts(wanted: Sequence[Name]) -> Iterator[Sequence[Name]]:
    return (wanted[at : at + _TOGETHER] for at in range(0, len(wanted), _TOGETHER))
