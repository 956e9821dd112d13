"""A SearchParameter resource as search parameters that can be used, or why it cannot (https://hl7.org/fhir/R4/searchparameter.html)."""

import re
from functools import lru_cache
from hashlib import blake2b
from typing import Any, cast

from conformance.fhirpath import FhirPathError, compile_paths
from conformance.fhirpath.budget import bounded
from conformance.load import definitions
from resources.outcomes import Issue
from search.parameter import ADDED_MARK, ParameterType, SearchParameter
from search.parameters import Parameters
from search.reading.expressions import check_expression
from search.types.kinds import KINDS

_CODE = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")

ADDED = ("number", "date", "string", "token", "reference", "quantity", "uri")
"""The types of parameters that can be added: those whose values follow from one expression."""

MOST_TYPES = 20
"""Types that one definition may apply to."""

MOST_STEPS = 100_000
"""The work on compiling an expression for one of them: a tenth of a second."""


class BadDefinition(Exception):
    """A definition that cannot work: every reason, with its place in the resource."""

    def __init__(self, issues: list[Issue]) -> None:
        super().__init__("; ".join(issue.text for issue in issues))
        self.issues = issues


def read_definition(document: dict[str, Any], parameters: Parameters) -> list[SearchParameter]:
    """The search parameters that a valid SearchParameter resource defines, one for each of its base types; none where it is not active
    or is one of the official ones. Raises BadDefinition.

    `parameters` are those that there are; one that the same `url` defined before does not stand in its way."""
    if document.get("status") != "active" or document.get("url") in _official():
        return []
    issues = [*_code_issues(document, parameters), *_type_issues(document, parameters)]
    if document["type"] not in ADDED:
        text = f"A parameter of the type {document['type']} cannot be added; these can: {', '.join(ADDED)}"
        issues.append(_issue("type", text, "not-supported"))
    if not document.get("expression"):
        issues.append(_issue("expression", "Without an expression nothing says which values the parameter searches", "required"))
    if issues:
        raise BadDefinition(issues)
    found = []
    for type in dict.fromkeys(document["base"]):
        problem = _expression_problem(document["expression"], type, document["type"])
        if problem:
            issues.append(_issue("expression", f"On {type} {problem}"))
        else:
            found.append(_parameter(document, type))
    if issues:
        raise BadDefinition(issues)
    return found


@lru_cache(maxsize=1)
def _official() -> frozenset[str]:
    return frozenset(definition.url for definition in definitions().search_parameters)


def _issue(element: str, text: str, code: str = "business-rule") -> Issue:
    return Issue("error", code, text, f"SearchParameter.{element}")


def _code_issues(document: dict[str, Any], parameters: Parameters) -> list[Issue]:
    code = document["code"]
    if not _CODE.fullmatch(code):
        text = f"The code {code[:100]!r} cannot be used in a URL: a letter, then letters, digits, - or _, 64 at most"
        return [_issue("code", text)]
    taken = [
        type for type in document["base"] if (other := parameters.find(type, code)) is not None and other.url != document["url"]
    ]
    if taken:
        return [_issue("code", f"{taken[0]} has a search parameter {code} already; choose another code", "duplicate")]
    return []


def _type_issues(document: dict[str, Any], parameters: Parameters) -> list[Issue]:
    issues = []
    for number, type in enumerate(document["base"]):
        if type not in parameters.types:
            text = f"{type} is no type that can be searched; name resource types such as Patient, not abstract ones"
            issues.append(_issue(f"base[{number}]", text))
    if len(document["base"]) > MOST_TYPES:
        issues.append(_issue("base", f"A parameter may be added to {MOST_TYPES} types at most", "too-costly"))
    if "AuditEvent" in document["base"]:
        issues.append(
            _issue("base", "No parameter can be added to AuditEvent, of which the server writes several with every request")
        )
    return issues


def _expression_problem(expression: str, type: str, kind: str) -> str:
    try:
        check_expression(expression)
        with bounded(MOST_STEPS):
            paths = compile_paths(expression, type)
    except FhirPathError as problem:
        return f"the expression cannot be used: {problem}"
    if not paths:
        return "the expression says nothing: all its parts speak of other types"
    if not any(KINDS[kind].converter(path.fhir_type, ()) for path in paths):
        types = ", ".join(dict.fromkeys(path.fhir_type for path in paths))
        return f"the expression gives {types}, which a parameter of the type {kind} cannot search"
    return ""


def _parameter(document: dict[str, Any], type: str) -> SearchParameter:
    return SearchParameter(
        type,
        document["code"],
        cast(ParameterType, document["type"]),
        document["expression"],
        document["url"],
        tuple(document.get("target", ())) if document["type"] == "reference" else (),
        stored=stored_as(type, document),
        description=document.get("description", ""),
        searchable=True,
        includable=document["type"] == "reference" and "Reference" in _types_of(document["expression"], type),
        custom=True,
    )


def stored_as(type: str, document: dict[str, Any]) -> str:
    """The code under which values of a parameter are kept: another one for another definition, so that old and new values never mix."""
    definition = "\n".join((type, document["code"], document["type"], document["expression"]))
    return f"{document['code']}{ADDED_MARK}{blake2b(definition.encode('utf-8', 'surrogatepass'), digest_size=6).hexdigest()}"


def _types_of(expression: str, type: str) -> frozenset[str]:
    return frozenset(path.fhir_type for path in compile_paths(expression, type))
