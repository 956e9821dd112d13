"""Typed models: resource type -> fhir.resources class, for code that builds or reads resources; and structure by these models.

fhir.resources has no R4 proper; its R4B models are the same for Patient, Practitioner, Appointment and AuditEvent, and lack 12
types of R4. They are imported only when asked for (the package takes a second and 60 MB when it is loaded whole).
"""

import json
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from resources.outcomes import FhirError, Issue, bad_request

_DEPTH = 256


@lru_cache(maxsize=256)
def model(resource_type: str) -> Any:
    """The fhir.resources class (a pydantic model) of a resource or data type of R4B.

    Raises KeyError where R4B has no such type.
    """
    from fhir.resources.R4B import get_fhir_model_class

    try:
        return get_fhir_model_class(resource_type)
    except (ValueError, LookupError, ImportError, AttributeError):
        raise KeyError(f"fhir.resources has no R4B model of {resource_type}") from None


class ModelValidator:
    """Structure by the models of fhir.resources: slower and laxer than fhirkit, for machines on which fhirkit has no wheel.

    Raises ImportError on construction if fhir.resources is not installed either.
    """

    def __init__(self) -> None:
        model("Patient")

    def check(self, body: bytes) -> list[Issue]:
        """See resources.structure.StructuralValidator."""
        document = _read(body)
        name = document.get("resourceType")
        if not isinstance(name, str):
            raise bad_request("The body is no FHIR R4 resource: a resource needs a resourceType.", code="structure")
        nulls = [_null(path) for path in _nulls(document, name)]
        try:
            kind = model(name)
        except KeyError:
            return [*nulls, Issue("warning", "not-supported", f"{name} has no model here: its structure was not checked.", name)]
        return nulls + _problems(kind, name, document)


def _problems(kind: Any, name: str, document: dict[str, Any]) -> list[Issue]:
    from pydantic import ValidationError

    try:
        kind.model_validate(document)
    except ValidationError as problem:
        return [_issue(name, found["loc"], found["msg"]) for found in problem.errors(include_url=False, include_input=False)]
    except (ValueError, TypeError, AssertionError) as problem:
        return [Issue("error", "structure", f"{name}: {problem}", name)]
    return []


def _read(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body.removeprefix(b"\xef\xbb\xbf").decode("utf-8"), object_pairs_hook=_once)
    except UnicodeDecodeError as problem:
        raise bad_request(f"The body is not JSON: byte {problem.start + 1} is not UTF-8.", code="structure") from None
    except json.JSONDecodeError as problem:
        text = f"The body is not JSON: line {problem.lineno}, column {problem.colno}: {problem.msg}."
        raise bad_request(text, code="structure") from None
    except RecursionError:
        raise bad_request("The body is nested too deeply.", code="structure") from None
    if not isinstance(document, dict):
        raise bad_request("The body is no FHIR R4 resource: it must be a JSON object.", code="structure")
    return document


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object's members; refuses a key given twice, which JSON parsers otherwise drop without a word."""
    found = dict(pairs)
    if len(found) != len(pairs):
        names = sorted({name for name, _ in pairs if sum(other == name for other, _ in pairs) > 1})
        texts = [f"the key {name} appears more than once in one object" for name in names]
        raise FhirError(400, [Issue("error", "structure", text) for text in texts])
    return found


def _nulls(value: Any, path: str, depth: int = 0) -> Iterable[str]:
    """Paths of nulls where JSON FHIR allows none: anywhere but in arrays of primitives (https://hl7.org/fhir/R4/json.html)."""
    if depth > _DEPTH:
        raise bad_request("The body is nested too deeply.", code="structure")
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from [f"{path}.{name}"] if inner is None else _nulls(inner, f"{path}.{name}", depth + 1)
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _nulls(inner, f"{path}[{number}]", depth + 1)


def _null(path: str) -> Issue:
    return Issue("error", "structure", f"{path}: null is not allowed; leave the element out", path)


def _issue(name: str, location: Iterable[str | int], message: str) -> Issue:
    path = name + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return Issue("error", "structure", f"{path}: {message}", path)
