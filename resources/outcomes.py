"""Errors, and the OperationOutcome they become. Pure: nothing here knows HTTP beyond the status number.

One exception class carries everything a person needs; there is no zoo of subclasses:

    FhirError(status, issues, headers)
      └─ issues: Issue(severity, code, text, expression)

`code` is a value of http://hl7.org/fhir/R4/valueset-issue-type.html, `expression` a FHIRPath location.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import msgspec

Severity = Literal["fatal", "error", "warning", "information"]

_encode = msgspec.json.Encoder().encode
_number_encode = msgspec.json.Encoder(decimal_format="number").encode


@dataclass(frozen=True, slots=True)
class Issue:
    """One problem: how bad, of which kind, a sentence for a person, and where (FHIRPath), if anywhere."""

    severity: Severity
    code: str
    text: str
    expression: str | None = None


@dataclass(slots=True)
class FhirError(Exception):
    """A request that cannot be fulfilled. `status` is the HTTP status, `headers` go out with the answer. Of the issues those that are
    errors come first: they are the reason."""

    status: int
    issues: list[Issue]
    headers: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.issues = sorted(self.issues, key=lambda issue: issue.severity not in ("fatal", "error"))

    def __str__(self) -> str:
        return "; ".join(issue.text for issue in self.issues)


def error(status: int, code: str, text: str, expression: str | None = None, **headers: str) -> FhirError:
    """A FhirError with one issue of severity error."""
    return FhirError(status, [Issue("error", code, text, expression)], headers)


def bad_request(text: str, expression: str | None = None, code: str = "invalid") -> FhirError:
    """400: the request itself is wrong (syntax, parameters, headers)."""
    return error(400, code, text, expression)


def unprocessable(issues: list[Issue]) -> FhirError:
    """422: the resource breaks a rule of FHIR or of this server (https://hl7.org/fhir/R4/http.html#create)."""
    return FhirError(422, issues)


def not_found(text: str) -> FhirError:
    """404: there is no such thing here."""
    return error(404, "not-found", text)


def gone(text: str) -> FhirError:
    """410: the resource was deleted (https://hl7.org/fhir/R4/http.html#read)."""
    return error(410, "deleted", text)


def conflict(text: str) -> FhirError:
    """409: somebody else changed the same thing at the same time."""
    return error(409, "conflict", text)


def precondition_failed(text: str, code: str = "conflict") -> FhirError:
    """412: If-Match does not hold, or criteria match several resources."""
    return error(412, code, text)


def not_supported(text: str, status: int = 400) -> FhirError:
    """The server does not do this."""
    return error(status, "not-supported", text)


def not_allowed(text: str, allowed: Iterable[str]) -> FhirError:
    """405 with the methods that would be possible."""
    return error(405, "not-supported", text, Allow=", ".join(allowed))


def shown(text: str) -> str:
    """A part of a request as an error text may repeat it: printable and short."""
    clean = "".join(c if c.isprintable() else "?" for c in text[:64])
    return f"'{clean}…'" if len(text) > 64 else f"'{clean}'"


def told(value: object) -> str:
    """A JSON value as an error text may repeat it; None: "nothing"."""
    if value is None:
        return "nothing"
    return shown(value if isinstance(value, str) else _number_encode(value).decode())


def counted(number: int, one: str, many: str = "") -> str:
    """`1 row`, `2 rows`; `many` where an s is not enough."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def operation_outcome(issues: Iterable[Issue]) -> bytes:
    """The issues as the bytes of an OperationOutcome (https://hl7.org/fhir/R4/operationoutcome.html).

    The sentence stands in `details.text`, where a user interface looks for it, and in `diagnostics`, where logs and older
    clients do.
    """
    return _encode({"resourceType": "OperationOutcome", "issue": [_issue(i) for i in issues]})


def _issue(issue: Issue) -> dict[str, object]:
    out: dict[str, object] = {
        "severity": issue.severity,
        "code": issue.code,
        "details": {"text": issue.text},
        "diagnostics": issue.text,
    }
    if issue.expression is not None:
        out["expression"] = [issue.expression]
    return out
