"""What became of the requests of a load, in a form that goes from one process to another."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from resources.outcomes import Issue, Severity

SHOWN = 5
"""Most problems that are told of one request."""


class Problem(NamedTuple):
    """`entry`: number of the Bundle's entry, None for the request as a whole. `issues`: code, sentence, FHIRPath."""

    entry: int | None
    text: str
    issues: tuple[tuple[str, str, str | None], ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a request. `problems` empty: all is well. `whole`: nothing of it was done. `position`: the store's, 0 if unknown.

    `unavailable`: the store or server takes nothing now, so going on makes no sense.
    """

    done: int
    problems: tuple[Problem, ...] = ()
    whole: bool = False
    unavailable: bool = False
    position: int = 0


class _Details(msgspec.Struct):
    text: str = ""


class _Issue(msgspec.Struct):
    severity: str = "error"
    code: str = ""
    diagnostics: str = ""
    details: _Details | None = None
    expression: list[str] = []


class _Outcome(msgspec.Struct):
    issue: list[_Issue] = []


class _Response(msgspec.Struct):
    status: str = ""
    outcome: _Outcome | None = None


class _Entry(msgspec.Struct):
    response: _Response | None = None


class _Bundle(msgspec.Struct):
    entry: list[_Entry] = []


_bundle = msgspec.json.Decoder(_Bundle)
_outcome = msgspec.json.Decoder(_Outcome)


def read(body: bytes, position: int) -> Answer:
    """The answer to a Bundle that was carried out, entry by entry."""
    problems, done = [], 0
    for number, entry in enumerate(_bundle.decode(body).entry):
        response = entry.response or _Response()
        if response.status.startswith("2"):
            done += 1
        else:
            issues = [_issue(issue) for issue in response.outcome.issue] if response.outcome else []
            problems.append(Problem(number, _told(response.status, issues), _codes(issues)))
    return Answer(done, tuple(problems), position=position)


def refused(status: int, issues: Iterable[Issue]) -> Answer:
    """The answer to a request that was not carried out."""
    errors = [issue for issue in issues if issue.severity in ("error", "fatal")]
    problems = [Problem(_entry_number(issue.expression), _told(str(status), [issue]), _codes([issue])) for issue in errors[:SHOWN]]
    if len(errors) > SHOWN:
        problems.append(Problem(None, f"and {len(errors) - SHOWN} more problems"))
    return Answer(0, tuple(problems) or (Problem(None, f"HTTP {status}"),), True, status in (401, 403, 429, 502, 503, 507))


def _told(status: str, issues: Iterable[Issue]) -> str:
    texts = [
        f"{issue.text} ({issue.expression})" if issue.expression else issue.text for issue in issues if issue.severity != "warning"
    ]
    return f"{status.split(' ')[0]} {'; '.join(texts[:SHOWN])}".strip()


def _codes(issues: Iterable[Issue]) -> tuple[tuple[str, str, str | None], ...]:
    return tuple((issue.code or "processing", issue.text, issue.expression) for issue in issues if issue.severity != "warning")


def _entry_number(expression: str | None) -> int | None:
    start = "Bundle.entry["
    if expression is None or not expression.startswith(start):
        return None
    number = expression.removeprefix(start).partition("]")[0]
    return int(number) if number.isdigit() else None


def _issue(issue: _Issue) -> Issue:
    text = (issue.details.text if issue.details else "") or issue.diagnostics
    severity: Severity = "error" if issue.severity in ("error", "fatal") else "warning"
    return Issue(severity, issue.code, text, issue.expression[0] if issue.expression else None)


def issues_of(body: bytes, otherwise: str) -> list[Issue]:
    """What an OperationOutcome says; one with the text `otherwise` where the bytes are none."""
    try:
        return [_issue(issue) for issue in _outcome.decode(body).issue]
    except msgspec.DecodeError:
        return [Issue("error", "", otherwise)]
