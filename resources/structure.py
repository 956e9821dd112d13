"""The structure of a resource: are the bytes JSON, is it a resource of R4, has every element the right name, type and number?

The checking is done by fhirkit (Rust, FHIR R4 4.0.1); where it is not installed, by the models of fhir.resources behind the same
Protocol. What structure does not tell (bindings, invariants, references) is `conformance/validate.py`'s work.
"""

import importlib
from functools import lru_cache
from typing import Any, Protocol

from resources.outcomes import FhirError, Issue, bad_request

MOST = 100
"""Issues answered for one document; what is beyond is counted, not listed (a hostile body could ask for megabytes)."""

_REPEATED = "the key appears more than once"

_CONSEQUENCES = frozenset(("required element missing", "null with no extension in its place"))
"""What fhirkit also says of a value that it has set aside as wrong."""


class StructuralValidator(Protocol):
    """What reads a body and judges its structure."""

    def check(self, body: bytes) -> list[Issue]:
        """Every structural problem of the resource in `body` (UTF-8 JSON, a byte order mark allowed), [] if there is none.

        Raises FhirError 400 where the body cannot be read at all: not UTF-8, not JSON (line and column in the text), nested too
        deeply, a key given twice in one object, no resource.
        """


class FhirkitValidator:
    """Structure by fhirkit. Raises ImportError on construction if it is not installed."""

    def __init__(self) -> None:
        self._fhirkit: Any = importlib.import_module("fhirkit")

    def check(self, body: bytes) -> list[Issue]:
        """See StructuralValidator."""
        try:
            found = self._fhirkit.parse(body).issues
        except self._fhirkit.ParseError as problem:
            raise _unreadable(body, str(problem)) from None
        except self._fhirkit.ValidationError as problem:
            raise _no_resource(problem.issues) from None
        if not found:
            return []
        repeated = [i for i in found if i.message == _REPEATED]
        if repeated:
            raise FhirError(400, [_issue(i.severity, i.path, i.message) for i in repeated[:MOST]])
        places = {i.path for i in found if i.message not in _CONSEQUENCES}
        told = [i for i in found if i.path not in places or i.message not in _CONSEQUENCES]
        return _bounded([_issue(i.severity, i.path, i.message) for i in told])


@lru_cache(maxsize=1)
def validator() -> StructuralValidator:
    """The validator of this installation: fhirkit, or else fhir.resources."""
    try:
        return FhirkitValidator()
    except ImportError:
        from resources.models import ModelValidator

        return ModelValidator()


def check(body: bytes) -> list[Issue]:
    """Every structural problem of the resource in `body`; see StructuralValidator.check."""
    return validator().check(body)


def _bounded(issues: list[Issue]) -> list[Issue]:
    if len(issues) <= MOST:
        return issues
    more = f"{len(issues) - MOST} further problems are not listed; correct these first."
    return [*issues[:MOST], Issue("error", "too-long", more)]


_KINDS = (
    ("required element missing", "required"),
    ("is not a valid", "value"),
    ("is not an", "value"),
    ("is not a FHIR", "value"),
)


def _issue(severity: str, path: str, message: str) -> Issue:
    """fhirkit's finding as an Issue; its path is made FHIRPath (`_given[1]` is `given[1]`, `value[x]` is `value`)."""
    code = next((code for part, code in _KINDS if part in message), "structure")
    where = path.replace("._", ".").replace("[x]", "")
    text = f"{path.replace('[x]', '')}: {message}"
    return Issue("warning" if severity == "warning" else "error", code, text, where)


def _no_resource(found: list[Any]) -> FhirError:
    text = "; ".join(i.message for i in found)
    hint = "It must be a JSON object with a resourceType of R4."
    return bad_request(f"The body is no FHIR R4 resource: {text}. {hint}", code="structure")


def _unreadable(body: bytes, message: str) -> FhirError:
    """The 400 for a body that is not JSON; fhirkit names line and column, but for bytes that are not UTF-8."""
    if not body.strip():
        return bad_request("The body is empty: send the resource as JSON.", code="structure")
    if message.startswith("not UTF-8"):
        message = f"{_undecodable(body)}: the bytes are not UTF-8"
    return bad_request(f"The body is not JSON: {message}.", code="structure")


def _undecodable(body: bytes) -> str:
    """`line 3, column 7` of the first byte that is not UTF-8 (columns count characters)."""
    try:
        body.decode()
    except UnicodeDecodeError as problem:
        before = body[: problem.start].decode()
        return f"line {before.count(chr(10)) + 1}, column {len(before) - (before.rfind(chr(10)) + 1) + 1}"
    return "line 1, column 1"
