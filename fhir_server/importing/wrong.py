"""Lines that are not taken, and how that is told (https://hl7.org/fhir/R4/operationoutcome.html). Loaded by commands: nothing large is
imported here."""

import msgspec

MOST, ENOUGH = 200, 1_000_000
"""Lines, and bytes of them, at which a portion is closed."""


class Wrong(msgspec.Struct, frozen=True):
    """A line that was not imported, and the issues that tell why: code, sentence, FHIRPath."""

    line: int
    issues: tuple[tuple[str, str, str | None], ...]


def texts(wrong: Wrong) -> str:
    """Why a line was not imported, in one sentence or several."""
    return "; ".join(f"{text} ({expression})" if expression else text for _, text, expression in wrong.issues)


def outcome(wrong: Wrong, where: str, before: int = 0) -> bytes:
    """A line that tells of one: in `where`, whose first `before` lines were counted apart."""
    issues = [
        {
            "severity": "error",
            "code": code,
            "details": {"text": text},
            "diagnostics": f"{where} line {wrong.line + before}",
            **({"expression": [expression]} if expression else {}),
        }
        for code, text, expression in wrong.issues
    ]
    return msgspec.json.encode({"resourceType": "OperationOutcome", "issue": issues}) + b"\n"
