"""The parameters that shape an answer."""

import pytest

from resources.outcomes import FhirError
from search.parameters import registry
from search.parse import parse
from search.query import Parsed

BASE = "http://127.0.0.1/fhir"


def read(query: str, type: str = "Observation", *, lenient: bool = False) -> Parsed:
    """A query read with a page size of 20, at most 100."""
    return parse(type, query, parameters=registry(), base_url=BASE, lenient=lenient, default_count=20, max_count=100)


@pytest.mark.parametrize(
    ("query", "count", "total"),
    [
        ("", 20, "cheap"),
        ("_count=0", 0, "accurate"),
        ("_count=5", 5, "cheap"),
        ("_count=100", 100, "cheap"),
        ("_count=101", 100, "cheap"),
        ("_total=accurate", 20, "accurate"),
        ("_count=0&_total=estimate", 0, "estimate"),
        ("_count=5&_total=none", 5, "none"),
        ("_total=estimate", 20, "estimate"),
        ("_summary=count", 0, "accurate"),
        ("_summary=count&_count=5&_total=none", 0, "accurate"),
    ],
)
def test_count_and_total(query: str, count: int, total: str) -> None:
    """The page size is cut to the most allowed; the total is counted in full where that is asked for, or nothing but the total."""
    found = read(query).query
    assert (found.count, found.total) == (count, total)


@pytest.mark.parametrize(
    ("query", "keys"),
    [
        ("_sort=date", [("date", False)]),
        ("_sort=-date,code,_lastUpdated,-_id", [("date", True), ("code", False), ("_lastUpdated", False), ("_id", True)]),
        ("_sort=date,-date", [("date", False)]),
        ("_sort=,date,", [("date", False)]),
        (
            "_sort=value-quantity,subject,status,value-string",
            [(c, False) for c in ("value-quantity", "subject", "status", "value-string")],
        ),
    ],
)
def test_sort(query: str, keys: list[tuple[str, bool]]) -> None:
    """Several keys, each with its direction; the first of a repeated one counts."""
    assert [(key.parameter.code, key.descending) for key in read(query).query.sort] == keys


@pytest.mark.parametrize(
    ("query", "links"),
    [
        ("_sort=encounter.date", [("encounter", "Encounter")]),
        ("_sort=-patient.birthdate", [("patient", "Patient")]),
        ("_sort=subject:Patient.organization.name", [("subject", "Patient"), ("organization", "Organization")]),
    ],
)
def test_chained_sort(query: str, links: list[tuple[str, str]]) -> None:
    """References may lead to what is sorted by, each with the type it leads to."""
    [key] = read(query).query.sort
    assert [(via.parameter.code, via.target) for via in key.via] == links


@pytest.mark.parametrize(
    ("query", "source", "codes", "target", "reverse"),
    [
        ("_include=Observation:subject", "Observation", {"subject"}, None, False),
        ("_include=Observation:subject:Patient", "Observation", {"subject"}, "Patient", False),
        ("_revinclude=Provenance:target", "Provenance", {"target"}, None, True),
        ("_revinclude=Provenance:target:Observation", "Provenance", {"target"}, "Observation", True),
    ],
)
def test_includes(query: str, source: str, codes: set[str], target: str | None, reverse: bool) -> None:
    """Source, parameter and target of _include and _revinclude."""
    [include] = read(query).includes
    assert {p.code for p in include.parameters} == codes
    assert (include.source, include.target, include.reverse, include.iterate) == (source, target, reverse, False)


@pytest.mark.parametrize(
    ("query", "source", "codes", "target", "reverse"),
    [
        ("_include:iterate=Patient:organization", "Patient", {"organization"}, None, False),
        ("_include:iterate=Observation:has-member", "Observation", {"has-member"}, None, False),
        (
            "_include:iterate=PractitionerRole:organization:Organization",
            "PractitionerRole",
            {"organization"},
            "Organization",
            False,
        ),
        ("_revinclude:iterate=Immunization:patient", "Immunization", {"patient"}, None, True),
        ("_revinclude:iterate=Provenance:target:Patient", "Provenance", {"target"}, "Patient", True),
    ],
)
def test_iterated_includes(query: str, source: str, codes: set[str], target: str | None, reverse: bool) -> None:
    """:iterate starts from any type, since what was included may be of any."""
    [include] = read(query).includes
    assert {p.code for p in include.parameters} == codes
    assert (include.source, include.target, include.reverse, include.iterate) == (source, target, reverse, True)


def test_wildcards() -> None:
    """`*` stands for every reference parameter, of a source that can refer to the type for _revinclude."""
    [all_of_it] = read("_include=*").includes
    [by_type] = read("_include=Observation:*").includes
    assert all_of_it == by_type and {"subject", "encounter", "performer"} <= {p.code for p in by_type.parameters}
    [back] = read("_revinclude=DiagnosticReport:*").includes
    assert {p.code for p in back.parameters} == {"result"}


def test_includes_repeat() -> None:
    """Several includes are kept in order, equal ones once."""
    found = read("_include=Observation:subject&_include=Observation:encounter&_include=Observation:subject").includes
    assert [include.parameters[0].code for include in found] == ["subject", "encounter"]


def test_other_shapes() -> None:
    """_summary and _elements are handed on; _format and _pretty are kept for links."""
    found = read("_elements=code,status,code&_format=json&_pretty=true&_contained=false")
    assert (found.summary, found.elements) == (None, ("code", "status"))
    assert read("_summary=text").summary == "text"
    assert ("_format", "json") in found.applied and ("_pretty", "true") in found.applied


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("_count=x", "whole number"),
        ("_count=-1", "whole number"),
        ("_count=1.5", "whole number"),
        ("_count=٣", "whole number"),
        ("_count=" + "9" * 30, "whole number"),
        ("_count=1&_count=2", "more than once"),
        ("_sort=date&_sort=code", "more than once"),
        ("_total=exact", "none, estimate, accurate"),
        ("_summary=all", "true, text, data, count, false"),
        ("_contained=both", "_contained"),
        ("_sort=date,code,status,subject,_id,_lastUpdated,category,method,focus", "at most 8"),
        ("_summary=text&_include=Observation:subject", "together"),
        ("_include:recurse=Observation:subject", "but :iterate: that is how"),
        ("_revinclude:recurse=Provenance:target", "but :iterate: that is how"),
        ("_include:Patient=Observation:subject", "no modifier but :iterate"),
        ("_sort:desc=date", "no modifier"),
    ],
)  # fmt: skip
def test_refused_in_any_case(query: str, says: str) -> None:
    """Values that cannot be read are refused, lenient or not."""
    for lenient in (False, True):
        with pytest.raises(FhirError, match=says):
            read(query, lenient=lenient)


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("_sort=dat", "did you mean date"),
        ("_sort=-", "cannot be sorted"),
        ("_sort=subject.name", "name the one to sort by"),
        ("_sort=subject:Patien.name", "did you mean Patient"),
        ("_sort=code.name", "no reference parameter"),
        ("_sort=patiet.name", "did you mean patient"),
        ("_sort=patient.nam", "Patient cannot be sorted by 'nam'"),
        ("_sort=patient.link:Patient.link:Patient.link:Patient.name", "more than 3 links"),
        ("_sort=-_score", "Only what is found by words has a _score"),
        ("_sort=code-value-quantity", "cannot be sorted"),
        ("_include=subject", "begins with the type"),
        ("_include=Patient:organization", "begins with the type"),
        ("_include=Observation:subjct", "did you mean Observation:subject"),
        ("_include:iterate=*", "every reference of every type"),
        ("_include:iterate=Nonsense:x", "begins with a resource type"),
        ("_revinclude:iterate=*", "every type"),
        ("_include=Observation:code", "no reference parameter"),
        ("_include=Observation:nothing", "no reference parameter"),
        ("_include=Observation:subject:Practitioner", "never refers"),
        ("_revinclude=*", "every type"),
        ("_revinclude=Nonsense:target", "resource type"),
        ("_revinclude=Provenanc:target", "did you mean Provenance"),
        ("_include=Observation:subject:Patien", "did you mean Patient"),
        ("_revinclude=Immunization:patient", "no reference parameter"),
        ("_revinclude=Provenance:target:Patient", "only be Observation"),
    ],
)
def test_ignored_where_lenient(query: str, says: str) -> None:
    """What names nothing that exists is refused, or ignored with lenient handling."""
    with pytest.raises(FhirError, match=says):
        read(query)
    parsed = read(query, lenient=True)
    assert parsed.query.sort == () and parsed.includes == () and parsed.applied == ()
    assert says in parsed.ignored[0][1]
